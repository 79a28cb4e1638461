//! The scenes. What a page says will be seen is looked for.

use crate::scene::Scene;

/// README.md, By hand.
pub(crate) fn first_call() -> Scene {
    Scene::default()
        .background("wzp-relay --listen 0.0.0.0:4433 --metrics-port 9090")
        .own("until_true curl -sf localhost:9090/ready")
        .own("fingerprint=$(sed -n 's/^fingerprint //p' background)")
        .word("1ba227e2…", "$fingerprint")
        .own("grep -qx 'listening on 0.0.0.0:4433' background || fail \"$(cat background)\"")
        .own(
            "grep -qx \"wzp-client --pin $fingerprint --room lobby --send-tone 10 \
             127.0.0.1:4433\" background || fail \"$(cat background)\"",
        )
        .run("PIN=1ba227e2…")
        .own("relay=$background; cp background relay.out")
        .background(
            "wzp-client --pin $PIN --room lobby --name anna --record heard.wav 127.0.0.1:4433",
        )
        .own("until_true sh -c \"wzp-relay ctl sessions | grep -q anna\"")
        .run("wzp-client --pin $PIN --room lobby --name ben --send-tone 10 127.0.0.1:4433")
        .own("kill -INT $background; wait $background || fail \"$(cat background)\"")
        .own("[ $(stat -c %s heard.wav) -gt 100000 ] || fail 'little was heard'")
        .run("wzp-client --pin 1ba227e2… --room lobby --send-tone 10 127.0.0.1:4433")
        .run("curl -s localhost:9090/metrics | grep wzp_relay")
        .run("curl -s localhost:9090/health")
        .own("grep -q '\"healthy\"' out || fail \"$(cat out)\"")
        .own("kill -TERM $relay; wait $relay || fail 'the relay did not end with code 0'")
        .background("wzp-relay --interface eth0")
        .own("until_true wzp-relay ctl status")
        .for_a_while("wzp-relay ctl flows")
        .own("grep -q 'flows, ' out || fail \"$(cat out)\"")
        .run("wzp-relay ctl block 198.51.100.7")
        .own("wzp-relay ctl status | grep -q '^blocked *198.51.100.7$' || fail 'not blocked'")
        .own("kill -TERM $background; wait $background")
}

/// docs/operations.md.
pub(crate) fn operation() -> Scene {
    Scene::default()
        .own("mkdir -p /etc/wzp-relay; : >/etc/wzp-relay/relay.toml")
        .own("wzp-relay --config /etc/wzp-relay/relay.toml --interface eth0 >relay.out 2>&1 &")
        .own("relay=$!; until_true wzp-relay ctl status")
        .own("pin=$(wzp-relay ctl status | sed -n 's/^fingerprint *//p')")
        .own("wzp-client --pin $pin --room lobby --send-tone 600 127.0.0.1 >client.out 2>&1 &")
        .own("client=$!; until_true sh -c 'wzp-relay ctl sessions | grep -q lobby'")
        .run("wzp-relay ctl status")
        .own("grep -q '^sessions *1 in 1 room$' out || fail \"$(cat out)\"")
        .run("wzp-relay ctl sessions")
        .run("wzp-relay ctl rooms")
        .own("grep -q '^lobby *1 ' out || fail \"$(cat out)\"")
        .for_a_while("wzp-relay ctl top --sort loss")
        .own("grep -q '^1 session, ' out || fail \"$(cat out)\"")
        .for_a_while("wzp-relay ctl events")
        .own("grep -q '\"event\":\"following\"' out || fail \"$(cat out)\"")
        .run("sudo curl -s --unix-socket /var/lib/wzp-relay/admin.sock http://relay/status")
        .own("grep -q '\"sessions\":1' out || fail \"$(cat out)\"")
        .run("wzp-relay ctl log-level info,wzp::session=debug")
        .run("wzp-relay ctl block 198.51.100.7 --kick")
        .run("wzp-relay ctl unblock 198.51.100.7")
        .run("sudo -u wzp-relay wzp-relay config check \\")
        .own("grep -q '^OK: ' out || fail \"$(cat out)\"")
        .run("wzp-relay ctl reload")
        .own("session=$(wzp-relay ctl sessions | sed -n 's/^\\([0-9a-f]\\{16\\}\\) .*/\\1/p')")
        .word("00f3…9a", "$session")
        .run("wzp-relay ctl kick 00f3…9a --reason \"please use the other relay\"")
        .own("if wait $client; then fail 'it was not kicked'; fi")
        .own("grep -q 'please use the other relay' client.out || fail \"$(cat client.out)\"")
        .run("wzp-relay ctl drain")
        .run("wzp-relay ctl undrain")
        .run("tc -s qdisc")
        .own("echo 'the neighbours may all be there' >out")
        .own("grep() { command grep \"$@\" || [ $? = 1 ]; }")
        .run("ip neighbour | grep -E 'INCOMPLETE|FAILED'")
        .own("kill -TERM $relay; wait $relay")
}

/// docs/configuration.md, and the mistakes that it shows.
pub(crate) fn configuration() -> Scene {
    Scene::default()
        .own("printf '[relay]\\n\\n[limits]\\nsesions = 5\\n' >relay.toml")
        .own("export WZP_RELAY__SHARDS=many; fail() { :; }")
        .run("wzp-relay config check --config relay.toml")
        .own(
            "cat >expected <<'END'\n\
             wzp-relay: configuration: 2 things are wrong\n\
             \x20 limits.sesions (file relay.toml:4): no such key; did you mean limits.sessions? \
             [limits] has sessions, \n\
             \x20 relay.shards (environment WZP_RELAY__SHARDS): this is the text \"many\"; wanted is \
             a whole number, 0 to 256\nEND",
        )
        .own("sed 's/has sessions, .*/has sessions, /' out | sort >told; sort expected >wanted")
        .own("diff wanted told")
}

/// docs/logging.md.
pub(crate) fn audit() -> Scene {
    Scene::default()
        .own("export WZP_AUDIT__ENABLED=true")
        .own("wzp-relay >relay.out 2>&1 & relay=$!; until_true wzp-relay ctl status")
        .own("for _ in $(seq 45); do wzp-relay ctl log-level info; done")
        .own("log=/var/lib/wzp-relay/audit.log; ln -s $log audit.log")
        .run("sed -n 42p audit.log | sed 's/,\"hash\":\"[0-9a-f]*\"}$//' | tr -d '\\n' | sha256sum")
        .own("hash=$(cut -d ' ' -f 1 out)")
        .own("sed -n 42p audit.log | grep -q \"\\\"hash\\\":\\\"$hash\\\"\" || fail \"$hash is not it\"")
        .run("wzp-relay audit verify")
        .own("grep -q 'chain intact' out || fail \"$(cat out)\"")
        .own("rm audit.log; here=$PWD; cd /var/lib/wzp-relay")
        .run("mv audit.log audit-2026.log")
        .own("wzp-relay ctl reload; wzp-relay audit verify audit-2026.log audit.log; cd $here")
        .own("kill -TERM $relay; wait $relay")
}

/// docs/auth.md: a secret, and a token of it.
pub(crate) fn tokens() -> Scene {
    Scene::default()
        .run("openssl rand -hex 32 > secret")
        .run("chmod 600 secret")
        .run("python3 -c 'import base64, hashlib, hmac, json, time")
        .own("printf '[auth]\\nmode = \"jwt\"\\n[auth.jwt]\\nsecret_files = [\"secret\"]\\n' >auth.toml")
        .own(JOIN)
}

/// A relay with that configuration takes the token, and no other.
const JOIN: &str = "\
wzp-relay --config auth.toml >relay.out 2>&1 & relay=$!
until_true wzp-relay ctl status
pin=$(wzp-relay ctl status | sed -n 's/^fingerprint *//p')
join() { wzp-client --pin $pin --room lobby --duration 1 \"$@\" 127.0.0.1; }
join --token-file token
code=0; join --token wrong || code=$?
[ $code = 9 ] || fail \"a wrong token gave $code\"
kill -TERM $relay; wait $relay";

/// docs/auth.md: key pairs and key sets.
pub(crate) fn key_pairs() -> Scene {
    let with =
        |key: &str| format!("printf '[auth]\\nmode = \"jwt\"\\n[auth.jwt]\\n{key}\\n' >auth.toml");
    Scene::default()
        .run("openssl genpkey -algorithm ed25519 -out key.pem")
        .run("openssl pkey -in key.pem -pubout -out public.pem")
        .run("python3 -c 'import jwt, time")
        .own(&with("public_key_files = [\"public.pem\"]"))
        .own(JOIN)
        .run("python3 -c 'import json, jwt")
        .own(&with("jwks_file = \"jwks.json\""))
        .own(JOIN)
}

/// docs/auth.md: a service that decides.
pub(crate) fn webhook() -> Scene {
    Scene::default()
        .background("python3 -c 'import http.server, json")
        .own("service=$background; until_true curl -s http://127.0.0.1:8000/")
        .own("echo yes >token; printf '[auth.webhook]\\n' >auth.toml")
        .own("export WZP_AUTH_URL=http://127.0.0.1:8000/")
        .own(JOIN)
        .own("kill $service; unset WZP_AUTH_URL")
        .background("wzp-relay --auth-url https://app.example/voice")
        .own("until_true wzp-relay ctl status; kill -TERM $background; wait $background")
}

/// docs/auth.md: an authority, and a certificate by it that the relay trusts.
pub(crate) fn authority() -> Scene {
    const SERVER: &str = "\
openssl verify -CAfile ca.pem -verify_hostname app.example server.pem
openssl s_server -quiet -accept 4434 -cert server.pem -key server.key -www >server.out 2>&1 &
until_true curl -sf --cacert ca.pem https://app.example:4434/";
    // Two commands begin alike; the second one names the first one's files.
    Scene::default()
        .run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 3650 \\")
        .run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 365 \\")
        .own(SERVER)
}

/// docs/load.md.
pub(crate) fn load() -> Scene {
    Scene::default()
        .own("export WZP_LIMITS__SESSIONS_PER_ADDRESS=1000 WZP_LIMITS__HANDSHAKES=1000")
        .own("wzp-relay >relay.out 2>&1 & relay=$!; until_true wzp-relay ctl status")
        .own("pin=$(wzp-relay ctl status | sed -n 's/^fingerprint *//p')")
        .word("RELAY", "--pin $pin 127.0.0.1:4433")
        .for_a_while("wzp-client load --rooms 20 --members 5 --duration 60 RELAY")
        .own("grep -q 'sessions joined' out || fail \"$(cat out)\"")
        .for_a_while("wzp-client load --members 100 --talkers 15 RELAY")
        .own("kill -TERM $relay; wait $relay || true")
}
