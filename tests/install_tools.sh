#!/bin/sh
# Install the programs that some tests drive: Orthanc (a PACS), dciodvfy (checks DICOM objects), Chromium and openssl.
# `make test` runs this. It acts as root in a container only, as in CI: Debian's orthanc starts a server where systemd
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
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || [ -d /run/systemd/system ] || ! command -v apt-get > /dev/null; then
    echo "tests that need$missing will be skipped; on Debian and Ubuntu: apt-get install --no-install-recommends$wanted"
    exit 0
fi
echo "installing for the tests:$wanted"
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
get() { apt-get -q -o Acquire::Retries=2 -o Acquire::http::Timeout=30 "$@" > "$log" 2>&1; }
# shellcheck disable=SC2086 # words of a list
{ get update && get install -y --no-install-recommends $wanted; } || {
    tail -n 5 "$log" >&2
    echo "WARNING: not installed, tests that need$missing will be skipped" >&2
}
rm -f "$log"
