# What every set-up script needs: one voice, one way to fail, one way to get a Debian package.
# shellcheck shell=bash

# Prints one line about the set-up; standard error, so that it never mixes with a result.
say() { printf 'fairlead: %s\n' "$*" >&2; }

# Ends the step: what is missing first, then what to type, a line each.
fail() {
  say "$1"
  shift
  [ $# -eq 0 ] || printf '          %s\n' "$@" >&2
  exit 1
}

# Whether apt_install can work here: an apt-get, and root or a sudo that asks no question.
may_install() {
  command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
}

# Installs Debian packages, as root or through a sudo that asks no question; otherwise says what to type.
apt_install() {
  command -v apt-get >/dev/null || fail "missing: $* (and there is no apt-get here to install it)" \
    "Install it with this system's package manager, then repeat the command."
  may_install || fail "missing: $*; type:" "sudo apt-get update && sudo apt-get install $*"
  local sudo=()
  [ "$(id -u)" = 0 ] || sudo=(sudo -n)
  local get=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
  say "installing Debian packages: $*"
  # The lists of a fresh machine are empty, those of an old image know only old versions.
  "${get[@]}" update >&2 || say "apt-get update failed; trying with the lists that are here"
  "${get[@]}" install -y --no-install-recommends "$@" >&2 ||
    fail "apt-get could not install $* (its reason stands above). When that is mended, type:" \
      "sudo apt-get update && sudo apt-get install $*"
}

# Holds a lock until unlock or the script's end, so that two `make` at once do not set up the same thing twice.
lock() {
  mkdir -p "$1"
  command -v flock >/dev/null || return 0
  exec 9>"$1/lock"
  flock -n 9 || { say "waiting for another set-up in this tree"; flock 9; }
}
unlock() { exec 9>&-; }
