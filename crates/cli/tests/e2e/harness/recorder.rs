//! A proxy between clients and the service that keeps what both say, and can keep a client's frames to itself.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

pub(crate) struct Recorder {
    pub(crate) url: String,
    connections: Arc<Mutex<Vec<Connection>>>,
    withholds: Arc<AtomicBool>,
}

/// What was said on one connection, either way.
#[derive(Clone, Default)]
struct Connection {
    asked: Arc<Mutex<Vec<u8>>>,
    answered: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    /// A proxy before the service at `HOST:PORT`.
    pub(crate) fn before(service: &str) -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (connections, withholds) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let (service, kept, closed) = (service.to_owned(), Arc::clone(&connections), Arc::clone(&withholds));
        // Ends with the test's process; it holds nothing but its port.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let connection = Connection::default();
                kept.lock().unwrap().push(connection.clone());
                let Ok(upstream) = TcpStream::connect(&service) else { continue };
                let (back_from, back_to) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
                let closed = Arc::clone(&closed);
                std::thread::spawn(move || {
                    carry(back_from, back_to, &connection.answered, &AtomicBool::new(false))
                });
                std::thread::spawn(move || carry(client, upstream, &connection.asked, &closed));
            }
        });
        Recorder { url, connections, withholds }
    }

    /// From now on sealed requests are kept and not carried on; the client is hung up on.
    pub(crate) fn withhold(&self) {
        self.withholds.store(true, Ordering::SeqCst);
    }

    /// Every HTTP request, whole.
    pub(crate) fn requests(&self) -> Vec<Vec<u8>> {
        let connections = self.connections.lock().unwrap();
        connections.iter().flat_map(|connection| split(&connection.asked.lock().unwrap())).collect()
    }

    /// Every request that was answered, with its answer.
    pub(crate) fn exchanges(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let connections = self.connections.lock().unwrap();
        let pairs = connections.iter().flat_map(|connection| {
            let asked = split(&connection.asked.lock().unwrap());
            asked.into_iter().zip(split(&connection.answered.lock().unwrap()))
        });
        pairs.collect()
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, kept: &Mutex<Vec<u8>>, withholds: &AtomicBool) {
    let mut buffer = [0; 16 * 1024];
    let mut withheld = false;
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let chunk = &buffer[..count];
        // A client waits for each answer, so a request begins with a chunk.
        withheld |= withholds.load(Ordering::SeqCst) && chunk.starts_with(b"POST /v1/requests ");
        let mut kept = kept.lock().unwrap();
        kept.extend_from_slice(chunk);
        if withheld {
            if split(&kept).iter().map(Vec::len).sum::<usize>() == kept.len() {
                let _ = from.shutdown(Shutdown::Both);
                break;
            }
        } else if to.write_all(chunk).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Cuts a connection's bytes into whole messages; bodies have a length.
fn split(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        assert!(!head.contains("transfer-encoding"), "this test does not read chunks");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        let Some((message, rest)) = bytes.split_at_checked(end + 4 + length) else { break };
        messages.push(message.to_vec());
        bytes = rest;
    }
    messages
}

/// Head and body of a message.
pub(crate) fn head_and_body(message: &[u8]) -> (String, &[u8]) {
    let end = message.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
    (String::from_utf8_lossy(&message[..end]).into_owned(), &message[end + 4..])
}
