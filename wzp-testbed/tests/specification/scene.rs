//! A relay under load: participants with tokens who talk all the time, and others
//! who come, go, and are refused.

use std::cell::Cell;
use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use quinn::Endpoint;
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use wzp_proto::control::{Hello, Role};
use wzp_testbed::client::{Client, Launch};
use wzp_testbed::loopback::Loopback;
use wzp_testbed::relay::{Relay, temporary_state};
use wzp_transport::join::{Joined, client_config, connect, enter};
use wzp_transport::trust::Trust;

use crate::LIMIT;

const SECRET: &str = "a secret of at least thirty-two bytes";

pub(crate) struct Scene {
    loopback: Loopback,
    folder: TempDir,
    /// Two who talk to each other.
    talkers: Vec<Client>,
    /// One who changes its port now and then.
    runtime: Runtime,
    mover: Joined,
    rounds: Cell<u32>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let folder = temporary_state().unwrap();
        std::fs::write(folder.path().join("secret"), SECRET).unwrap();
        let path = folder.path().join("relay.toml");
        // Nobody takes the traces; their ids are in the metrics all the same.
        let settings = format!(
            "auth = {{ mode = 'jwt', jwt.secret_files = ['{}'] }}\n\
             tracing = {{ enabled = true, endpoint = '127.0.0.1:1', sample_rate = 1.0 }}\n",
            folder.path().join("secret").display()
        );
        std::fs::write(&path, settings).unwrap();
        let loopback = Loopback::new(&["--config", path.to_str().unwrap()]);
        let talkers = ["anna", "ben"].map(|name| {
            let arguments = ["--token", &token(), "--send-tone", "600"];
            Client::start(&loopback.client("talk", name), &arguments).unwrap()
        });
        let runtime = Runtime::new().unwrap();
        let mover = runtime.block_on(join(loopback.relay()));
        let scene = Self {
            loopback,
            folder,
            talkers: talkers.into(),
            runtime,
            mover,
            rounds: Cell::new(0),
        };
        scene.disturb();
        scene
    }

    pub(crate) fn relay(&self) -> &Relay<'static> {
        self.loopback.relay()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A room begins and ends, one is refused, one gives up in the handshake, one
    /// changes its port, and the configuration is read anew.
    pub(crate) fn disturb(&self) {
        let round = self.rounds.replace(self.rounds.get() + 1);
        let visit = |pin: &str, token: &str| {
            let room = format!("short {round}");
            let launch = Launch { pin: pin.into(), ..self.loopback.client(&room, "visitor") };
            Client::start(&launch, &["--token", token, "--send-tone", "0.2"]).unwrap()
        };
        let pin = self.relay().fingerprint();
        let welcome = visit(pin, &token());
        let refused = visit(pin, "no token at all");
        let distrustful = visit(&"0".repeat(64), &token());
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        self.runtime.block_on(async { self.mover.endpoint.rebind(socket).unwrap() });
        self.relay().hang_up().unwrap();
        welcome.finish(LIMIT).unwrap();
        refused.fail(LIMIT).unwrap();
        distrustful.fail(LIMIT).unwrap();
    }

    pub(crate) fn end(self) {
        for talker in self.talkers {
            talker.leave(LIMIT).unwrap();
        }
        drop((self.mover, self.runtime));
        self.loopback.stop();
    }
}

fn token() -> String {
    let expires = SystemTime::now() + Duration::from_secs(3600);
    let expires = expires.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({ "exp": expires, "room": "*" });
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

async fn join(relay: &Relay<'_>) -> Joined {
    let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    let trust = Trust::Pinned(relay.fingerprint().parse().unwrap());
    let config = client_config(trust).unwrap();
    let connection = connect(&endpoint, config, relay.listen(), "relay").await.unwrap();
    let hello = Hello {
        role: Role::Participant.into(),
        room: "talk".into(),
        token: token(),
        ..Hello::default()
    };
    enter(endpoint, connection, hello).await.unwrap()
}
