# Knot, a DNS server whose records can be changed while it runs, from Debian: knotd, and kdig and
# knsupdate to ask and to change. Leaves links to them in OUT.
# shellcheck shell=bash

install_knot() {
  local out=$1 program
  # The package would start its server at once: policy-rc.d says no meanwhile.
  if ! command -v knotd >/dev/null || ! command -v knsupdate >/dev/null; then
    command -v apt-get >/dev/null || fail "no program knotd found; install Knot 3.2 or later and put it on PATH"
    local policy=/usr/sbin/policy-rc.d kept=''
    if [ -e "$policy" ]; then
      kept=$(mktemp)
      as_root cp -p "$policy" "$kept"
    fi
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    local status=0
    { retry as_root apt-get -q update &&
      retry as_root apt-get -qy --no-install-recommends -o DPkg::Lock::Timeout=300 install knot knot-dnsutils; } ||
      status=$?
    if [ -n "$kept" ]; then as_root mv "$kept" "$policy"; else as_root rm -f "$policy"; fi
    [ "$status" = 0 ] || fail "knot cannot be installed"
  fi
  for program in knotd kdig knsupdate; do
    command -v "$program" >/dev/null || command -v "/usr/sbin/$program" >/dev/null ||
      fail "expected $program after installing knot, found none"
    ln -sf "$(command -v "$program" || command -v "/usr/sbin/$program")" "$out/$program"
  done
}
