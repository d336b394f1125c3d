# Reeve's configuration: every .hcl and .json file of this folder is read, by name.
data_dir = "/var/lib/reeve"

# A client joins through any members:
#retry_join = ["10.0.0.11", "10.0.0.12"]

# A server; all of the first ones say how many there are to be:
#server = true
#bootstrap_expect = 3

# The pool's key, from `reeve keygen`:
#encrypt = ""

# Where others reach this node, and where HTTP and DNS are served:
#bind_addr = "10.0.0.13"
#client_addr = "127.0.0.1"
