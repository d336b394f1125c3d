"""The lock recipe of Consul's guide with python-consul: one holder, others wait, what is lost comes back.

usage: lock.py ADDRESS; prints a line for each step that does not hold and fails if there is one.
"""

import sys
import time

import consul

TTL = 10
DELAY = 5
KEY = "service/app/leader"
# What a loaded machine may add to a timer of the server.
SLACK = 30

faults = []


def check(name, holds):
    if not holds:
        faults.append(name)
        print("not ok:", name)


client = consul.Consul(host=sys.argv[1], port=8500)

first = client.session.create(name="first", ttl=TTL, lock_delay=DELAY, behavior="release")
began = time.monotonic()
second = client.session.create(name="second", ttl=600, lock_delay=DELAY)
third = client.session.create(name="third", ttl=600, lock_delay=DELAY)

check("the first takes the lock", client.kv.put(KEY, "first", acquire=first) is True)
check("whoever holds it may take it again", client.kv.put(KEY, "first", acquire=first) is True)
check("another does not get it", client.kv.put(KEY, "second", acquire=second) is False)
check("another cannot give it up", client.kv.put(KEY, "", release=second) is False)
index, entry = client.kv.get(KEY)
check("the holder is told", entry["Session"] == first and entry["Value"] == b"first")
check("it was locked once", entry["LockIndex"] == 1)

# Nobody renews the first: between its TTL and twice that it is gone, and a waiter hears of it.
while "Session" in entry and time.monotonic() < began + 2 * TTL + SLACK:
    index, entry = client.kv.get(KEY, index=index, wait="10s")
lost = time.monotonic()
check("the lock of a session that is not renewed is lost", "Session" not in entry)
check("not before its TTL", lost - began >= TTL)
check("soon after twice its TTL", lost - began <= 2 * TTL + SLACK)
check("its key stays", entry["Value"] == b"first")
check("the session is gone", client.session.info(first)[1] is None)

# The lock delay keeps it from everybody for a while, although nobody holds it.
while not client.kv.put(KEY, "second", acquire=second) and time.monotonic() < lost + DELAY + SLACK:
    time.sleep(0.1)
taken = time.monotonic()
index, entry = client.kv.get(KEY)
check("the second gets it after the lock delay", entry.get("Session") == second)
check("and not before", taken - began >= TTL + DELAY)
check("it was locked twice", entry["LockIndex"] == 2)

# A lock that is given up is free at once.
check("the second gives it up", client.kv.put(KEY, "", release=second) is True)
check("the third gets it at once", client.kv.put(KEY, "third", acquire=third) is True)
check("a renewed session goes on", client.session.renew(third)["ID"] == third)

# A destroyed session gives its locks up, with the delay.
check("the third ends", client.session.destroy(third) is True)
index, entry = client.kv.get(KEY)
check("its lock is free", "Session" not in entry)
client.session.destroy(second)

sys.exit(1 if faults else 0)
