//! An HTTP server that answers as a test wants it: the operator's own services,
//! in good and in bad days.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// A request that the service was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The path of the request.
    pub path: String,
    /// The body of the request.
    pub body: String,
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A status, header fields with their line ends, and content.
    Http(u16, String, String),
    /// Nothing at all for as long as the server is there.
    Silence,
}

/// A server on a free port of 127.0.0.1. Gone when dropped.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    asked: Mutex<Vec<Asked>>,
    /// Connections that are left without an answer.
    silent: Mutex<Vec<TcpStream>>,
}

impl Service {
    /// Starts a service that listens on a free port.
    ///
    /// # Panics
    /// There is no free port.
    pub fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        Self::on(listener, answer)
    }

    /// The same on a port that a test knows of before.
    ///
    /// # Panics
    /// The listener has no address.
    pub fn on(
        listener: TcpListener,
        answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("an address");
        let shared = Arc::<Shared>::default();
        let (of_thread, answer) = (shared.clone(), Arc::new(answer));
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if of_thread.stop.load(Ordering::Relaxed) {
                    return;
                }
                let (shared, answer) = (of_thread.clone(), answer.clone());
                // A client that breaks off is its own problem.
                thread::spawn(move || serve(stream, &shared, &*answer));
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let woken = TcpStream::connect(self.address).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
        self.shared.silent.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn serve(stream: TcpStream, shared: &Shared, answer: &dyn Fn(&Asked) -> Answer) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        match line.trim().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().ok()?;
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let asked = Asked { path, body: String::from_utf8(body).ok()? };
    let answer = answer(&asked);
    shared.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    let mut stream = stream;
    match answer {
        Answer::Http(status, fields, body) => write!(
            stream,
            "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n{fields}\r\n{body}",
            body.len()
        )
        .ok(),
        Answer::Silence => {
            shared.silent.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
            Some(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::get;

    #[test]
    fn answers_and_remembers() {
        let service = Service::start(|asked| {
            let path = asked.path.clone();
            Answer::Http(418, "Cache-Control: max-age=60\r\n".into(), path)
        });
        let response = get(service.address(), "/tea").unwrap();
        assert_eq!((response.status, response.body.as_str()), (418, "/tea"));
        assert_eq!(response.field("cache-control"), Some("max-age=60"));
        assert_eq!(service.asked()[0].path, "/tea");
        let address = service.address();
        drop(service);
        assert!(TcpStream::connect(address).is_err(), "it is gone");
    }
}
