#!/bin/sh
# Installs the relay's package, starts the relay as its unit would, upgrades to a
# second package, removes and purges it; the client's package beside it: in a view of
# this system whose changes go nowhere, with a network of its own. Needs root, `unshare`
# and overlayfs.
#
#     check.sh OLD.deb NEW.deb CLIENT.deb SYMBOLS.ddeb
set -eu
if [ "${1:-}" != --inside ]; then
    exec unshare --mount --net --pid --fork --kill-child sh "$0" --inside "$@"
fi
old=$2 new=$3 client=$4 symbols=$5

place=$(mktemp -d)
mount -t tmpfs none "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$place/upper,workdir=$place/work" "$place/root"
mount -t proc proc "$place/root/proc"
mount --rbind /dev "$place/root/dev"
mount -t tmpfs none "$place/root/run"
mount -t tmpfs none "$place/root/tmp"
cp "$old" "$place/root/tmp/old.deb"
cp "$new" "$place/root/tmp/new.deb"
cp "$client" "$place/root/tmp/client.deb"
cp "$symbols" "$place/root/tmp/symbols.ddeb"
# As on a system that never had a relay.
rm -rf "$place/root/var/lib/wzp-relay" "$place/root/etc/wzp-relay" \
    "$place/root/etc/logrotate.d/wzp-relay"
ip link set lo up

inside() { chroot "$place/root" env DEBIAN_FRONTEND=noninteractive "$@"; }
say() { echo "--- $*"; }
fail() { echo "failed: $*" >&2; exit 1; }
install() { inside dpkg --force-confdef --force-confold --install "$1"; }

# As the unit does: its user, its state directory, its command.
start() {
    inside install -d -o wzp-relay -g wzp-relay -m 700 /var/lib/wzp-relay
    unit=$place/root/lib/systemd/system/wzp-relay.service
    command=$(sed -n 's/^ExecStart=//p' "$unit")
    # shellcheck disable=SC2086 # The unit's words.
    inside setpriv --reuid wzp-relay --regid wzp-relay --clear-groups \
        env STATE_DIRECTORY=/var/lib/wzp-relay $command &
    relay=$!
    for _ in $(seq 100); do
        if inside wzp-relay ctl status --json >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    fail "the relay does not answer"
}
stop() {
    inside wzp-relay ctl drain --exit --wait
    wait "$relay" || fail "the relay ended with $?"
}

say install
install /tmp/old.deb
inside id wzp-relay
[ -f "$place/root/etc/logrotate.d/wzp-relay" ] || fail "the audit log is not rotated"
say start
start
inside wzp-relay ctl status

say "the first call, as README.Debian has it"
install /tmp/client.deb
pin=$(inside wzp-relay ctl status | sed -n 's/^fingerprint *//p')
inside wzp-client --pin "$pin" --room lobby --send-tone 1 --duration 1 127.0.0.1 ||
    fail "no call"
stop

say "pages, completions, symbols"
doc=$place/root/usr/share/doc/wzp-relay
for file in "$doc/README.md" "$doc/docs/operations.md" "$doc/README.Debian" \
    "$doc/changelog.Debian.gz" "$place"/root/usr/share/man/man1/wzp-relay.1.gz \
    "$place"/root/usr/share/man/man1/wzp-relay-ctl-top.1.gz \
    "$place"/root/usr/share/man/man1/wzp-client.1.gz \
    "$place"/root/usr/share/bash-completion/completions/wzp-relay; do
    [ -s "$file" ] || fail "${file#"$place/root"} is missing"
done
grep -q '^License: MPL-2.0' "$place/root/usr/share/doc/wzp-client/copyright" ||
    fail "the client's package does not name the licence of symphonia"
install /tmp/symbols.ddeb
id=$(inside readelf --notes /usr/bin/wzp-relay | sed -n 's/^ *Build ID: \(..\)\(.*\)/\1\/\2/p')
[ -s "$place/root/usr/lib/debug/.build-id/$id.debug" ] || fail "the symbols are of another build"
if inside readelf --sections /usr/bin/wzp-relay | grep -q debug_line; then
    fail "the program still has its symbols"
fi
inside dpkg --remove wzp-relay-dbgsym

say rotate
if inside which logrotate; then
    # As the relay leaves it; no service is there to be reloaded.
    inside setpriv --reuid wzp-relay --regid wzp-relay --clear-groups \
        sh -c 'umask 077; echo a record >/var/lib/wzp-relay/audit.log'
    inside logrotate --force /etc/logrotate.d/wzp-relay
    inside sh -c 'ls /var/lib/wzp-relay/audit.log-*' || fail "the audit log was not moved"
else
    echo "logrotate is missing: not tried"
fi

say upgrade
echo "# changed by hand" >>"$place/root/etc/wzp-relay/relay.toml"
identity=$(sha256sum <"$place/root/var/lib/wzp-relay/identity.pem")
install /tmp/new.deb
grep -q "changed by hand" "$place/root/etc/wzp-relay/relay.toml" || fail "the configuration is lost"
start
stop
[ "$identity" = "$(sha256sum <"$place/root/var/lib/wzp-relay/identity.pem")" ] ||
    fail "the identity is lost"

say remove
inside dpkg --remove wzp-relay
[ ! -e "$place/root/usr/bin/wzp-relay" ] || fail "the program is still there"
[ -e "$place/root/etc/wzp-relay/relay.toml" ] || fail "the configuration is gone"
[ -e "$place/root/var/lib/wzp-relay/identity.pem" ] || fail "the identity is gone"

say purge
inside dpkg --purge wzp-relay
for rest in etc/wzp-relay/relay.toml etc/logrotate.d/wzp-relay var/lib/wzp-relay; do
    [ ! -e "$place/root/$rest" ] || fail "/$rest is still there"
done
say "all as it should be; systemd itself was not part of it"
