#!/bin/bash
# py-consul's own test suite. usage: py-consul.sh AGENT_BINARY
#
# The suite comes with the source archive on PyPI; only its wiring (py/conftest.py) is ours.
. "$(dirname "$0")/lib.sh"
need python3 python3
version=1.8.0 home=$cache/py-consul

set_up() {
    set -e
    mkdir -p "$home"
    cd "$home"
    if [ ! -e venv/ready ]; then
        rm -rf venv
        python3 -m venv venv
        venv/bin/pip -q install 'pytest==8.*' 'pytest-timeout==2.*' 'pytest-rerunfailures==15.*' \
            'pytest-asyncio==1.*' 'requests==2.*' 'aiohttp==3.*' 'pyOpenSSL' 'packaging' 'setuptools' \
            'wheel'
        touch venv/ready
    fi
    if [ ! -d "py_consul-$version" ]; then
        venv/bin/pip -q download --no-deps --no-binary :all: "py-consul==$version"
        tar xzf "py_consul-$version.tar.gz"
    fi
}
(set_up) >"$work/set-up.log" 2>&1 || { cat "$work/set-up.log"; exit 1; }

cp -r "$home/py_consul-$version" "$work/suite"
cp "$here/py/conftest.py" "$work/suite/conftest.py" || exit 1
cd "$work/suite"
AGENT=$agent PYTHONPATH=$work/suite timeout -k 10 900 "$home/venv/bin/python" -m pytest -q \
    -p no:cacheprovider -o addopts= -o asyncio_mode=auto \
    -o asyncio_default_fixture_loop_scope=function --timeout=90 --reruns 1 --junitxml "$work/report.xml" \
    tests >"$work/pytest.log" 2>&1
[ -e "$work/report.xml" ] || { tail -n 40 "$work/pytest.log"; exit 1; }
python3 "$here/py/compare.py" "$work/report.xml"
