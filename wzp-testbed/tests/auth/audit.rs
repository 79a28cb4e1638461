//! What the audit log has of tokens and keys.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use wzp_testbed::binaries;
use wzp_testbed::loopback::Loopback;

use crate::token::{Signer, token};
use crate::{LIMIT, attempts, folder, visit};

fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of<'a>(records: &'a [Value], event: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["event"] == event).collect()
}

fn wait<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn verify(files: &[&Path]) -> String {
    let mut command = Command::new(binaries::relay());
    let output = command.args(["audit", "verify"]).args(files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn lost(loopback: &Loopback) -> f64 {
    let scrape = loopback.relay().scrape().unwrap();
    scrape.sum("wzp_relay_audit_records_lost_total", &[("reason", "limit")]).unwrap()
}

#[test]
fn refusals_are_told_up_to_a_limit_and_keys_that_change_with_their_names() {
    let folder = folder();
    let (keys, path) = (folder.path().join("keys.json"), folder.path().join("audit.log"));
    let publish = |signer: &Signer, kid: &str| {
        std::fs::write(&keys, json!({"keys": [signer.jwk(kid)]}).to_string()).unwrap();
    };
    let (first, second) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
    publish(&first, "first");
    let config = folder.path().join("relay.toml");
    let text = format!(
        "[auth]\nmode = 'jwt'\njwt.jwks_file = '{}'\njwt.audience = ['relay']\n\
         [audit]\nenabled = true\nfile = '{}'\nauth_failures_per_minute = 1\n",
        keys.display(),
        path.display()
    );
    std::fs::write(&config, &text).unwrap();
    let loopback = Loopback::new(&["--config", config.to_str().unwrap()]);
    assert_eq!(visit(&loopback, &first.token(Some("first"))).status.code(), Some(0));
    for _ in 0..5 {
        assert_eq!(visit(&loopback, &token(json!({}))).status.code(), Some(9));
    }
    assert_eq!(attempts(loopback.relay()), [1.0, 5.0], "each is counted");
    // The client is told before the audit log is.
    wait("the limit", || (lost(&loopback) == 4.0).then_some(()));

    // As logrotate does it.
    publish(&second, "second");
    let archive = folder.path().join("archive.log");
    std::fs::rename(&path, &archive).unwrap();
    loopback.relay().hang_up().unwrap();
    let new = wait("the rotation", || {
        Some(records(&path)).filter(|records| !of(records, "key_rotation").is_empty())
    });
    let old = records(&archive);
    let failures = of(&old, "auth_failure");
    let [failure, left_out] = failures[..] else { panic!("{failures:#?}") };
    let expected = json!({"reason": "unknown_key", "room": "lobby", "src_ip": "127.0.0.1"});
    assert_eq!((&failure["details"], &failure["result"]), (&expected, &json!("failure")));
    assert_eq!(left_out["details"]["left_out"], 4);
    assert_eq!(new[0]["details"]["continues"], old[old.len() - 1]["hash"]);
    let [rotation] = of(&new, "key_rotation")[..] else { panic!("{new:#?}") };
    let expected = json!({"what": "token_keys", "old_key_id": "first", "new_key_id": "second",
                          "token_keys_added": ["second"], "token_keys_removed": ["first"]});
    assert_eq!(rotation["details"], expected);
    assert!(rotation["user"].as_str().unwrap().starts_with("signal@"), "{rotation}");

    // A configuration that is refused does not keep a new file from being begun.
    std::fs::write(&config, "[audit]\nenabled = 7\n").unwrap();
    let second_archive = folder.path().join("archive-2.log");
    std::fs::rename(&path, &second_archive).unwrap();
    loopback.relay().hang_up().unwrap();
    wait("the refusal", || {
        let records = records(&path);
        of(&records, "config_change").iter().find(|record| record["result"] == "failure").map(drop)
    });
    loopback.stop();
    let verdict = verify(&[&archive, &second_archive, &path]);
    assert!(verdict.contains("begins the chain"), "{verdict}");
    assert!(verify(&[&path]).contains("continues "));
}
