#!/usr/bin/env bash
# Prepares a Debian or Ubuntu machine: system packages, the Python environment, `loft` on the PATH.
# Can be repeated at any moment and after an interruption; does nothing when nothing is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '[setup] %s\n' "$*" >&2; }
fail() { printf '[fatal] %s\n' "$*" >&2; exit 1; }

# What the embedded cluster, the images, and (with --dev) the tests need, one name a line.
packages=(
  ca-certificates containerd containernetworking-plugins conntrack curl ethtool iproute2 iptables kmod
  mmdebstrap mount nftables procps python3 python3-venv runc socat util-linux busybox-static git make
)
if [ "${1:-}" = "--dev" ]; then packages+=(openssl wrk); fi

[ "$(id -u)" = 0 ] || fail "this needs root: run it with sudo"
command -v apt-get >/dev/null || fail "this machine has no apt-get; Debian 12 or Ubuntu 24.04 and later are supported"

missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
  say "installing system packages: ${missing[*]}"
  log=$(mktemp)
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; fail "apt-get could not install them; its last lines are above"; }
  rm -f "$log"
fi

python=python3
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or later is needed"
[ -x .venv/bin/python ] || { say "creating the Python environment .venv"; rm -rf .venv; "$python" -m venv .venv; }
stamp=$(cat requirements.lock pyproject.toml | sha256sum | cut -d' ' -f1)
if [ "$(cat .venv/.installed 2>/dev/null || true)" != "$stamp" ]; then
  say "installing Python packages (about half a minute the first time)"
  if [ ! -x .venv/bin/uv ]; then
    .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null
    .venv/bin/python -m pip install -q --disable-pip-version-check --root-user-action=ignore 'uv>=0.9'
  fi
  .venv/bin/uv pip install -q --python .venv/bin/python --require-hashes -r requirements.lock
  .venv/bin/uv pip install -q --python .venv/bin/python --no-deps --editable .
  printf '%s' "$stamp" >.venv/.installed
fi

if [ "$(readlink /usr/local/bin/loft 2>/dev/null || true)" != "$PWD/.venv/bin/loft" ]; then
  [ -e /usr/local/bin/loft ] && [ ! -L /usr/local/bin/loft ] && fail "/usr/local/bin/loft exists and is not ours; move it away"
  ln -sfn "$PWD/.venv/bin/loft" /usr/local/bin/loft
  say "loft is /usr/local/bin/loft"
fi
