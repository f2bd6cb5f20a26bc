#!/bin/sh
# Install the programs that some tests drive: Orthanc (a PACS), dciodvfy (checks DICOM objects), Chromium, axe-core (checks
# the accessibility of pages; into .tools) and openssl. `make test` runs this. It acts as root in a container only, as in CI: Debian's orthanc starts a server where systemd
# runs. Elsewhere, and where the installation fails, it says what is missing and those tests are skipped.
set -u
PATH="$PATH:/usr/sbin"
wanted="" missing=""
want() { # PACKAGES PROGRAM
    command -v "$2" > /dev/null || { wanted="$wanted $1"; missing="$missing $2"; }
}
want "orthanc orthanc-dicomweb" Orthanc
want dicom3tools dciodvfy
want chromium chromium
want openssl openssl
AXE=.tools/axe.min.js
[ -f "$AXE" ] || missing="$missing axe-core"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || [ -d /run/systemd/system ] || ! command -v apt-get > /dev/null; then
    echo "tests that need$missing will be skipped; on Debian and Ubuntu: apt-get install --no-install-recommends$wanted (axe-core: from npm, its axe.min.js as $AXE)"
    exit 0
fi
echo "installing for the tests:$missing"
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
get() { apt-get -q -o Acquire::Retries=2 -o Acquire::http::Timeout=30 "$@" > "$log" 2>&1; }
# shellcheck disable=SC2086 # words of a list
[ -z "$wanted" ] || { get update && get install -y --no-install-recommends $wanted; } || {
    tail -n 5 "$log" >&2
    echo "WARNING: not installed, tests that need$missing will be skipped" >&2
}
rm -f "$log"
[ -f "$AXE" ] || python3 - "$AXE" << 'END' || echo "WARNING: no axe-core, the test that needs it will be skipped" >&2
import hashlib, io, os, sys, tarfile, urllib.request
data = urllib.request.urlopen("https://registry.npmjs.org/axe-core/-/axe-core-4.10.3.tgz", timeout=30).read()
if hashlib.sha256(data).hexdigest() != "0f2b4d7dcdf7d1219df8d1959ad68e565f51d14c3f0d88bb71cd59abeb956292":
    sys.exit("axe-core has another hash than expected")
script = tarfile.open(fileobj=io.BytesIO(data)).extractfile("package/axe.min.js").read()
os.makedirs(os.path.dirname(sys.argv[1]), exist_ok=True)
with open(sys.argv[1] + ".new", "wb") as file:
    file.write(script)
os.replace(file.name, sys.argv[1])
END
