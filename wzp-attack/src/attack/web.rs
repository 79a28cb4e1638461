//! Against the listener for metrics and health.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{Attack, Attacking, Sent, each, nothing_special, wait};
use crate::scene::{Target, stranger_v4};

/// Connections that ask for nothing.
pub(super) const IDLE: Attack = Attack {
    name: "http-idle",
    sends: "200 TCP connections to the metrics port: half say nothing, half send a byte of a request each second",
    prepare: nothing_special,
    run: idle,
};

/// Requests whose answers are not read.
pub(super) const UNREAD: Attack = Attack {
    name: "http-unread",
    sends: "100 TCP connections to the metrics port with 200 requests each, whose answers are not read",
    prepare: nothing_special,
    run: unread,
};

/// Who tries passwords.
pub(super) const PASSWORDS: Attack = Attack {
    name: "passwords",
    sends: "60 wrong passwords at a time for the metrics, from 4 addresses",
    prepare: |scene| {
        let file = scene.folder().join("web.yml");
        // bcrypt, cost 10, of "test" (the documentation of Prometheus).
        let hash = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay";
        std::fs::write(&file, format!("basic_auth_users:\n  prometheus: {hash}\n"))?;
        Ok(super::Prepared {
            config: format!("web_config = '{}'\n", file.display()),
            ..super::Prepared::default()
        })
    },
    run: passwords,
};

async fn connect(target: &Target, number: u16) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((stranger_v4(number % 4), 0).into())?;
    let connecting = tokio::time::timeout(Duration::from_secs(5), socket.connect(target.http));
    connecting.await.map_err(|_| std::io::ErrorKind::TimedOut)?
}

fn idle(target: Target, end: Instant) -> Attacking {
    Box::pin(async move {
        let mut sent = Sent::default();
        let mut streams = Vec::new();
        for number in 0..200 {
            if let Ok(stream) = connect(&target, number).await {
                sent.count("connections", 1);
                streams.push(stream);
            }
        }
        let mut head = "GET /metrics HTTP/1.1\r\nHost: relay\r\nX-Slow: "
            .bytes()
            .chain(std::iter::repeat(b'a'));
        each(Duration::from_secs(1), end, async || {
            let byte = [head.next().unwrap_or(b'a')];
            for stream in streams.iter_mut().step_by(2) {
                let _ = stream.try_write(&byte);
            }
        })
        .await;
        Ok(sent)
    })
}

fn unread(target: Target, end: Instant) -> Attacking {
    Box::pin(async move {
        let requests = "GET /metrics HTTP/1.1\r\nHost: relay\r\n\r\n".repeat(200);
        let mut sent = Sent::default();
        let mut streams = Vec::new();
        for number in 0..100 {
            if let Ok(mut stream) = connect(&target, number).await {
                let writing = stream.write_all(requests.as_bytes());
                if tokio::time::timeout(Duration::from_millis(200), writing).await.is_ok() {
                    sent.count("requests", 200);
                }
                streams.push(stream);
            }
        }
        wait(end).await;
        Ok(sent)
    })
}

fn passwords(target: Target, end: Instant) -> Attacking {
    Box::pin(async move {
        let mut guessing = tokio::task::JoinSet::new();
        for number in 0..60 {
            guessing.spawn(async move {
                let mut answers = std::collections::BTreeMap::<String, u64>::new();
                while Instant::now() < end {
                    let status =
                        guess(&target, number).await.unwrap_or_else(|_| "failed".to_owned());
                    *answers.entry(status).or_default() += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                answers
            });
        }
        let mut sent = Sent::default();
        while let Some(answers) = guessing.join_next().await {
            answers?.into_iter().for_each(|(status, number)| sent.count(status, number));
        }
        Ok(sent)
    })
}

/// The status of the answer to a wrong password.
async fn guess(target: &Target, number: u16) -> std::io::Result<String> {
    let mut stream = connect(target, number).await?;
    // "prometheus:wrong".
    let request = "GET /metrics HTTP/1.0\r\nAuthorization: Basic cHJvbWV0aGV1czp3cm9uZw==\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(10), reading)
        .await
        .map_err(|_| std::io::ErrorKind::TimedOut)??;
    Ok(format!("answers {}", answer.split(' ').nth(1).unwrap_or("none")))
}
