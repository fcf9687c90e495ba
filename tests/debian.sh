#!/usr/bin/env bash
# The Debian packages that the tests need: Chromium for the page, PostgreSQL for the second store,
# Prometheus for its promtool, which tries the alert rules.
# Installed where this user may, named plainly where not.
set -euo pipefail

needed=()
command -v chromium >/dev/null && command -v chromedriver >/dev/null || needed+=(chromium chromium-driver)
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || needed+=(postgresql)
command -v promtool >/dev/null || needed+=(prometheus)
[ ${#needed[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ]; then run=""; elif sudo -n true 2>/dev/null; then run="sudo"; else
  echo "The tests need these Debian packages, which this user may not install:" >&2
  echo "  sudo apt-get install ${needed[*]}" >&2
  exit 1
fi
echo "installing ${needed[*]} for the tests"
$run apt-get update -qq
DEBIAN_FRONTEND=noninteractive $run apt-get install -qq -y --no-install-recommends "${needed[@]}" >/dev/null
