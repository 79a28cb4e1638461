//! `wzp-relay config check` tells what a start would do: the same settings, on the same
//! machine, at the same moment, of real processes.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, mknodat};
use wzp_testbed::binaries;
use wzp_testbed::process::Process;
use wzp_testbed::relay::{PATIENCE, Relay, temporary_state};
use wzp_transport::identity::Identity;

/// One check of this password would take hours.
const COSTLY: &str = "basic_auth_users:\n  \
    a: $2y$31$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01232\n";

/// A relay's place: everything it could stumble over, and free ports unless the case has
/// others.
struct Place {
    folder: tempfile::TempDir,
    tcp: TcpListener,
    udp: UdpSocket,
    _lock: File,
}

impl Place {
    fn new() -> Self {
        let folder = temporary_state().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("folder")).unwrap();
        fs::create_dir(at("state")).unwrap();
        let garbage = "no PEM, no key, no record and no YAML: [";
        fs::write(at("garbage"), garbage).unwrap();
        fs::create_dir_all(at("bad-identity")).unwrap();
        fs::write(at("bad-identity/identity.pem"), garbage).unwrap();
        fs::create_dir_all(at("bad-socket")).unwrap();
        fs::write(at("bad-socket/admin.sock"), "").unwrap();
        fs::write(at("torn"), "half a rec").unwrap();
        for name in ["one.pem", "two.pem"] {
            fs::write(at(name), Identity::generate().unwrap().1).unwrap();
        }
        let pem = fs::read_to_string(at("one.pem")).unwrap();
        let certificate = &pem[..pem.find("-----BEGIN PRIVATE").unwrap()];
        fs::write(at("long.pem"), certificate.repeat(250) + &pem).unwrap();
        fs::create_dir_all(at("new-identity/identity.pem.new")).unwrap();
        fs::create_dir_all(at("lost-identity")).unwrap();
        symlink("nowhere/identity.pem", at("lost-identity/identity.pem")).unwrap();
        mknodat(CWD, at("pipe.log.lock"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        fs::create_dir(at("folder.log.lock")).unwrap();
        symlink("/dev/null", at("device.log.lock")).unwrap();
        symlink("folder/real.log", at("link.log")).unwrap();
        fs::write(at("short"), "secret").unwrap();
        symlink("nowhere/file", at("dangling")).unwrap();
        symlink("made/by/nobody.log", at("link-to-new")).unwrap();
        let web = [
            ("no-cert.yml", "tls_server_config: {cert_file: no.crt, key_file: no.key}\n"),
            ("plain.yml", "basic_auth_users:\n  a: plain\n"),
            ("unknown.yml", "tls_sever_config: {}\n"),
            ("pair.yml", "tls_server_config: {cert_file: one.pem, key_file: two.pem}\n"),
            ("cost.yml", COSTLY),
            ("long.yml", "tls_server_config: {cert_file: long.pem, key_file: long.pem}\n"),
            ("good.yml", "tls_server_config: {cert_file: one.pem, key_file: one.pem}\n"),
        ];
        for (name, text) in web {
            fs::write(at(name), text).unwrap();
        }
        fs::write(at("taken.log"), "").unwrap();
        let lock = File::create(at("taken.log.lock")).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        Self {
            folder,
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            udp: UdpSocket::bind("127.0.0.1:0").unwrap(),
            _lock: lock,
        }
    }

    /// The text with the places in it: `D/` and the ports that are in use.
    fn fill(&self, text: &str) -> String {
        text.replace("D/", &format!("{}/", self.folder.path().display()))
            .replace("TCP", &self.tcp.local_addr().unwrap().to_string())
            .replace("UDP", &self.udp.local_addr().unwrap().to_string())
    }

    fn command(&self, arguments: &[&str], text: &str, variables: &[(&str, &str)]) -> Command {
        let path = self.folder.path().join("relay.toml");
        // Wherever the case does not say: ports that are free, and a folder of its own.
        let defaults = [
            ("relay.listen", "'127.0.0.1:0'"),
            ("metrics.listen_addr", "'127.0.0.1:0'"),
            ("relay.state_dir", "'D/state'"),
        ];
        let missing = defaults.iter().filter(|(key, _)| !text.contains(key));
        let text = missing
            .fold(text.to_owned(), |text, (key, value)| format!("{key} = {value}\n{text}\n"));
        fs::write(&path, self.fill(&text)).unwrap();
        let mut command = Command::new(binaries::relay());
        command.args(arguments).arg("--config").arg(path).env_remove("RUST_LOG");
        command.envs(variables.iter().map(|(name, value)| (name, self.fill(value))));
        command
    }

    fn check(&self, text: &str, variables: &[(&str, &str)], flags: &[&str]) -> Output {
        let arguments = [&["config", "check"], flags].concat();
        self.command(&arguments, text, variables).output().unwrap()
    }

    /// Starts a relay and ends it at once; or why it does not start.
    fn start(&self, text: &str, variables: &[(&str, &str)]) -> Result<(), String> {
        let mut process = Process::start("wzp-relay", self.command(&[], text, variables)).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match process.next_line(deadline).unwrap() {
                Some(line) if line.starts_with("wzp-client ") => break,
                Some(_) => {}
                None => {
                    assert_eq!(process.wait(PATIENCE).unwrap().code(), Some(1));
                    return Err(process.stderr());
                }
            }
        }
        process.terminate().unwrap();
        assert!(process.wait(PATIENCE).unwrap().success(), "{}", process.stderr());
        Ok(())
    }

    /// All files and folders, with their content.
    fn content(&self) -> Vec<(PathBuf, Vec<u8>)> {
        fn walk(folder: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let content = path.is_file().then(|| fs::read(&path).unwrap_or_default());
                found.push((path.clone(), content.unwrap_or_default()));
                if path.is_dir() {
                    walk(&path, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(self.folder.path(), &mut found);
        found.sort();
        found
    }
}

/// Settings, variables, and what is told of them if a relay does not start.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<&'a str>);

/// Fails if a check and a start do not agree, or the check leaves something behind.
fn agree(cases: &[Case<'_>]) {
    for (text, variables, reason) in cases {
        let place = Place::new();
        let path = place.folder.path().join("relay.toml");
        fs::write(&path, "").unwrap();
        let before = place.content();
        let check = place.check(text, variables, &[]);
        let written = fs::read(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(place.content(), before, "the check of {text:?} left something behind");
        fs::write(&path, written).unwrap();
        let told = String::from_utf8(check.stderr).unwrap();
        let start = place.start(text, variables);
        assert_eq!(
            check.status.success(),
            start.is_ok(),
            "{text:?} {variables:?}\n{told}\n{start:?}"
        );
        assert_eq!(start.is_err(), reason.is_some(), "{text:?} {variables:?}: {start:?}");
        if let (Err(error), Some(reason)) = (start, reason) {
            assert!(error.contains(reason), "{text:?}: the start said {error}");
            assert!(told.contains(reason), "{text:?}: the check said {told}");
        }
    }
}

#[test]
fn files_that_can_and_cannot_be_had() {
    let long = format!("logging.file = 'D/{}'", "n".repeat(256));
    let long_lock = format!("logging.file = 'D/{}'", "n".repeat(252));
    agree(&[
        ("", &[], None),
        ("logging.file = 'D/new.log'", &[], None),
        ("logging.file = 'D/a/b/new.log'", &[], None),
        ("logging.file = 'D/folder'", &[], Some("not a regular file")),
        ("logging.file = ''", &[], Some("logging.file")),
        ("", &[("WZP_LOGGING__FILE", "")], None),
        ("", &[("WZP_AUDIT__ENABLED", "true"), ("WZP_AUDIT__FILE", "")], None),
        ("logging.file = '/proc/x/relay.log'", &[], Some("No such file")),
        ("logging.file = '/dev/null'", &[], Some("not a regular file")),
        ("logging.file = '/dev/stdout'", &[], Some("not a regular file")),
        ("logging.file = 'D/garbage/below'", &[], Some("garbage/below")),
        ("logging.file = 'D/dangling'", &[], Some("No such file")),
        ("logging.file = 'D/taken.log'", &[], Some("another process logs")),
        (&long, &[], Some("too long")),
        (&long_lock, &[], Some("too long")),
        ("logging.file = 'D/pipe.log'", &[], Some("pipe.log.lock: it is a pipe")),
        ("logging.file = 'D/folder.log'", &[], Some("folder.log.lock: it is a folder")),
        ("logging.file = 'D/device.log'", &[], Some("device.log.lock: it is a device")),
        ("logging.file = 'D/link.log'", &[], None),
        ("", &[("RUST_LOG", "wzp_relay=loud")], Some("no log filter")),
    ]);
}

#[test]
fn audit_logs_that_can_and_cannot_be_continued() {
    let audit = [("WZP_AUDIT__ENABLED", "true")];
    agree(&[
        ("", &audit, None),
        ("audit.file = 'D/a/b/new.log'", &audit, None),
        ("audit.file = 'D/torn'", &audit, None),
        ("audit.file = 'D/garbage'", &[], None),
        ("audit.file = 'D/folder'", &audit, Some("not a regular file")),
        ("audit.file = '/dev/null'", &audit, Some("not a regular file")),
        ("audit.file = '/proc/x/audit.log'", &audit, Some("No such file")),
        ("audit.file = 'D/relay.toml'", &audit, Some("configuration file itself")),
        (
            "audit.file = 'D/same'\nlogging.file = 'D/same'",
            &audit,
            Some("give each one of its own"),
        ),
        ("audit.file = 'D/taken.log'\nlogging.file = 'D/new.log'", &audit, None),
        ("audit.file = 'D/link.log.lock'\nlogging.file = 'D/link.log'", &audit, None),
        (
            "audit.file = 'D/folder/real.log.lock'\nlogging.file = 'D/link.log'",
            &audit,
            Some("put aside"),
        ),
    ]);
}

#[test]
fn an_audit_log_without_a_sound_end_is_told_before_the_start() {
    let place = Place::new();
    let settings = "audit.enabled = true\naudit.file = 'D/broken'";
    fs::write(place.folder.path().join("broken"), "no record\n").unwrap();
    let check = place.check(settings, &[], &[]);
    assert_eq!(check.status.code(), Some(1));
    assert!(String::from_utf8(check.stderr).unwrap().contains("sound record"));
    assert!(place.start(settings, &[]).unwrap_err().contains("sound record"));
}

#[test]
fn addresses_that_can_and_cannot_be_listened_on() {
    agree(&[
        // TEST-NET-1 of RFC 5737.
        ("relay.listen = '192.0.2.1:4433'", &[], Some("192.0.2.1:4433")),
        ("metrics.listen_addr = '192.0.2.1:9090'", &[], Some("192.0.2.1:9090")),
        (
            "health.listen_addr = '192.0.2.1:8080'\nhealth.enabled = true",
            &[],
            Some("192.0.2.1:8080"),
        ),
        ("health.listen_addr = '192.0.2.1:8080'", &[], None),
        ("relay.listen = 'UDP'", &[], Some("in use")),
        ("relay.listen = 'UDP'\nrelay.shards = 3", &[], Some("in use")),
        ("metrics.listen_addr = 'TCP'", &[], Some("in use")),
        (
            "metrics.listen_addr = 'TCP'\nmetrics.enabled = false\nhealth.enabled = true\n\
          health.listen_addr = 'TCP'",
            &[],
            Some("in use"),
        ),
        ("health.listen_addr = 'TCP'\nhealth.enabled = true", &[], Some("in use")),
    ]);
}

#[test]
fn identities_and_state_directories() {
    let long = format!("relay.state_dir = 'D/{}'", "d".repeat(150));
    let too_long = format!("relay.state_dir = 'D/{}'", "d".repeat(256));
    agree(&[
        ("relay.cert = 'D/one.pem'\nrelay.key = 'D/one.pem'", &[], None),
        ("relay.cert = 'D/one.pem'\nrelay.key = 'D/two.pem'", &[], Some("do not belong together")),
        ("relay.cert = 'D/no.pem'\nrelay.key = 'D/one.pem'", &[], Some("No such file")),
        ("relay.cert = 'D/garbage'\nrelay.key = 'D/one.pem'", &[], Some("not a PEM file")),
        ("relay.state_dir = 'D/new/state'", &[], None),
        (&long, &[], None),
        (&too_long, &[], Some("too long")),
        ("relay.state_dir = 'D/garbage'", &[], Some("garbage")),
        ("relay.state_dir = 'D/garbage/state'", &[], Some("Not a directory")),
        ("relay.state_dir = 'D/bad-identity'", &[], Some("identity.pem")),
        (
            "relay.cert = 'D/long.pem'\nrelay.key = 'D/long.pem'",
            &[],
            Some("more than 64,000 bytes"),
        ),
        ("relay.state_dir = 'D/new-identity'", &[], Some("identity.pem.new is a folder")),
        ("relay.state_dir = 'D/lost-identity'", &[], Some("where nothing is")),
        ("relay.state_dir = 'D/bad-socket'", &[], Some("no socket")),
        ("relay.state_dir = '/proc/x/state'", &[], Some("No such file")),
    ]);
}

#[test]
fn pages_traces_and_tokens() {
    let jwt = [("WZP_AUTH__MODE", "jwt")];
    agree(&[
        ("metrics.web_config = 'D/good.yml'", &[], None),
        ("metrics.web_config = 'D/no.yml'", &[], Some("No such file")),
        ("metrics.web_config = 'D/no-cert.yml'", &[], Some("no-cert.yml")),
        ("metrics.web_config = 'D/no-cert.yml'\nmetrics.enabled = false", &[], None),
        ("metrics.web_config = 'D/plain.yml'", &[], Some("bcrypt")),
        ("metrics.web_config = 'D/cost.yml'", &[], Some("cost 31")),
        ("metrics.web_config = 'D/long.yml'", &[], Some("more than 64,000 bytes")),
        ("metrics.path = '/a b?c#d'", &[], Some("metrics.path")),
        ("metrics.web_config = 'D/unknown.yml'", &[], Some("known are tls_server_config")),
        ("metrics.web_config = 'D/pair.yml'", &[], Some("one.pem")),
        ("metrics.web_config = 'D/garbage'", &[], Some("garbage")),
        (
            "tracing.enabled = true\ntracing.endpoint = 'ftp://127.0.0.1:1'",
            &[],
            Some("by http:// or, with TLS, https://"),
        ),
        (
            "tracing.enabled = true\ntracing.endpoint = '127.0.0.1:1'\ntracing.ca_file = 'D/one.pem'",
            &[],
            Some("write it with https://"),
        ),
        (
            "tracing.enabled = true\ntracing.endpoint = 'https://127.0.0.1:1'\n\
             tracing.ca_file = 'D/no.pem'",
            &[],
            Some("no.pem"),
        ),
        ("tracing.enabled = true\ntracing.exporter = 'zipkin'", &[], None),
        ("tracing.enabled = true\ntracing.endpoint = 'a b'", &[], Some("tracing.endpoint")),
        ("tracing.enabled = false\ntracing.endpoint = 'https://127.0.0.1:1'", &[], None),
        ("tracing.enabled = true\ntracing.endpoint = '127.0.0.1:1'", &[], None),
        ("auth.jwt.secret_files = ['D/short']", &jwt, Some("at least 32")),
        ("auth.jwt.secret_files = ['D/short']", &[], None),
        ("auth.jwt.public_key_files = ['D/one.pem']", &jwt, Some("one.pem")),
        ("auth.jwt.jwks_file = 'D/no.json'", &jwt, Some("No such file")),
        ("auth.jwt.jwks_url = 'http://127.0.0.1:1/'", &jwt, None),
        ("", &[("WZP_AUTH_URL", "https://127.0.0.1:1/")], None),
        ("", &[("WZP_AUTH_URL", "https://127.0.0.1:65536/")], Some("1 to 65535")),
        (
            "",
            &[
                ("WZP_AUTH_URL", "https://127.0.0.1:1/"),
                ("SSL_CERT_FILE", "D/no.pem"),
                ("SSL_CERT_DIR", "/etc/ssl/certs"),
            ],
            Some("SSL_CERT_FILE"),
        ),
        (
            "",
            &[
                ("WZP_AUTH_URL", "https://127.0.0.1:1/"),
                ("SSL_CERT_FILE", "D/one.pem"),
                ("SSL_CERT_DIR", "D/no"),
            ],
            Some("SSL_CERT_DIR"),
        ),
        ("ebpf.mode = 'require'\nebpf.interfaces = ['nosuch0']", &[], Some("nosuch0")),
        ("ebpf.interfaces = ['nosuch0']", &[], None),
    ]);
}

#[test]
fn variables_that_others_set_or_nobody_meant() {
    agree(&[
        ("", &[("WZP_METRICS_PORT", "tcp://10.0.0.8:9090")], None),
        ("", &[("WZP_METRICS_SERVICE_HOST", "10.0.0.8")], None),
        ("", &[("WZP_CERT", ""), ("WZP_SHARDS", ""), ("WZP_AUTH_URL", "")], None),
        ("", &[("WZP_SHARD", "2")], Some("WZP_SHARDS")),
        ("", &[("WZP_SHARDS", "many")], Some("environment WZP_SHARDS")),
        ("", &[("WZP_LIMITS__SESIONS", "2")], Some("environment WZP_LIMITS__SESIONS")),
    ]);
}

#[test]
fn warnings_are_errors_for_who_wants_it() {
    let place = Place::new();
    let cert = |name: &str, days: std::ops::Range<i64>| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec!["relay".to_owned()]).unwrap();
        let now = SystemTime::now();
        let day = |days: i64| match Duration::from_secs(days.unsigned_abs() * 86_400) {
            ago if days < 0 => now - ago,
            ahead => now + ahead,
        };
        parameters.not_before = day(days.start).into();
        parameters.not_after = day(days.end).into();
        let pem = parameters.self_signed(&key).unwrap().pem() + &key.serialize_pem();
        let path = place.folder.path().join(name);
        fs::write(&path, pem).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    cert("old.pem", -9..-1);
    cert("soon.pem", -9..9);
    cert("later.pem", 9..99);
    cert("good.pem", -9..99);
    cert("shown.pem", -9..99);
    let shown = place.folder.path().join("shown.pem");
    fs::set_permissions(shown, fs::Permissions::from_mode(0o644)).unwrap();
    let pair = |name| format!("relay.cert = 'D/{name}'\nrelay.key = 'D/{name}'\n");
    let cases = [
        (pair("good.pem"), None),
        (pair("old.pem"), Some("expired on")),
        (pair("soon.pem"), Some("expires on")),
        (pair("later.pem"), Some("clock right?")),
        (pair("shown.pem"), Some("every user of this machine can read")),
        ("ebpf.interfaces = ['nosuch0']".into(), Some("nosuch0")),
        ("relay.listen = '0.0.0.0:0'".into(), Some("may join any room")),
        ("relay.listen = '0.0.0.0:0'\nauth.mode = 'none'".into(), None),
        (
            "tracing.enabled = true\ntracing.endpoint = 'nobody.invalid:1'".into(),
            Some("nobody.invalid"),
        ),
    ];
    for (text, warning) in cases {
        let (check, strict) =
            (place.check(&text, &[], &[]), place.check(&text, &[], &["--strict"]));
        let told = String::from_utf8(check.stderr).unwrap();
        assert!(check.status.success(), "{text}: {told}");
        // Root may have buffers of any size.
        let warnings: Vec<_> =
            told.lines().filter(|line| !line.contains("net.core.rmem_max")).collect();
        match (&warnings[..], warning) {
            ([], None) => assert!(strict.status.success() || !told.is_empty(), "{strict:?}"),
            ([line], Some(part)) => {
                assert!(line.starts_with("warning: ") && line.contains(part), "{line}");
                assert_eq!(strict.status.code(), Some(1), "{strict:?}");
                assert!(String::from_utf8(strict.stderr).unwrap().contains(part));
            }
            (other, expected) => panic!("{text}: {other:?}, not {expected:?}"),
        }
    }
}

#[test]
fn a_check_beside_the_relay_that_runs_takes_what_it_has_for_free() {
    let place = Place::new();
    let (free_udp, free_tcp) = {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        (udp.local_addr().unwrap(), tcp.local_addr().unwrap())
    };
    let own = format!(
        "relay.listen = '{free_udp}'\nmetrics.listen_addr = '{free_tcp}'\n\
         audit.enabled = true\nlogging.file = 'D/own.log'\n"
    );
    let relay = Relay::from_command(place.command(&[], &own, &[]), None).unwrap();
    let check = place.check(&own, &[], &[]);
    let told = String::from_utf8(check.stderr).unwrap();
    assert!(check.status.success(), "{told}");
    let notes = told.lines().filter(|line| line.starts_with("note: a relay runs")).count();
    assert_eq!(notes, 1, "{told}");
    for key in ["relay.listen", "metrics.listen_addr", "logging.file"] {
        assert!(told.contains(key), "{key} is not in {told}");
    }
    let unfit = [
        (own.replace(&free_tcp.to_string(), "TCP"), "in use"),
        (own.replace(&free_udp.to_string(), "UDP"), "in use"),
        (own.replace("own.log", "taken.log"), "another process logs"),
        (own.replace("own.log", "folder"), "not a regular file"),
    ];
    for (text, reason) in unfit {
        let check = place.check(&text, &[], &[]);
        let told = String::from_utf8(check.stderr).unwrap();
        assert!(!check.status.success() && told.contains(reason), "{text}: {told}");
    }
    // It goes on, and nothing of it was touched.
    assert_eq!(relay.get("/ready").unwrap().status, 200);
    relay.stop().unwrap();
    place.start(&own, &[]).unwrap();
}

/// The audit log stays where it was until a restart.
#[test]
fn a_reload_does_not_have_the_log_written_to_the_audit_log() {
    let place = Place::new();
    let before = "audit.enabled = true\naudit.file = 'D/first'\n";
    let relay = Relay::from_command(place.command(&[], before, &[]), None).unwrap();
    let after = "audit.enabled = true\naudit.file = 'D/second'\nlogging.file = 'D/first'\n";
    let reload = place.command(&["ctl", "reload"], after, &[]).output().unwrap();
    let told = String::from_utf8(reload.stderr).unwrap();
    assert_eq!(reload.status.code(), Some(4), "{told}");
    assert!(told.contains("audit.file") && told.contains("logging.file"), "{told}");
    relay.stop().unwrap();
    let verify = place.command(&["audit", "verify"], before, &[]).output().unwrap();
    assert!(verify.status.success(), "{verify:?}");
}

/// The idle time-out stays as it was until a restart, and what would end silent sessions
/// within it is not taken on.
#[test]
fn a_reload_does_not_mix_what_does_not_fit_together() {
    let place = Place::new();
    let before = "limits.idle_timeout = '10s'\nlimits.ping_interval = '5s'\n";
    let relay = Relay::from_command(place.command(&[], before, &[]), None).unwrap();
    let after = "limits.idle_timeout = '1h'\nlimits.ping_interval = '30m'\n";
    let reload = place.command(&["ctl", "reload"], after, &[]).output().unwrap();
    let told = String::from_utf8(reload.stderr).unwrap();
    assert_eq!(reload.status.code(), Some(4), "{told}");
    assert!(told.contains("limits.idle_timeout (as it is now, until a restart)"), "{told}");
    relay.stop().unwrap();
}
