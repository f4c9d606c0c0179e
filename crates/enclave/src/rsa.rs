//! RSA keys made ahead, on a thread of their own: making one takes 28 to 170 ms, and a turn of the engine waits for none.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use keyferry_crypto::credential::RsaKey;
use keyferry_crypto::secret::SecretVec;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;

/// Keys that lie ready: a few people who register at the same moment. Each is a secret in memory that nobody uses yet.
const READY: usize = 4;

/// A small store of keys. Nothing is made before the first is asked for: few relying parties insist on RSA.
#[derive(Default)]
pub struct RsaPool {
    ready: Option<Receiver<RsaKey>>,
}

impl RsaPool {
    /// A key that was never handed out before; `None` while none is ready. Does not wait.
    pub fn take(&mut self) -> Option<RsaKey> {
        match self.ready.get_or_insert_with(start).try_recv() {
            Ok(key) => Some(key),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                // The thread could not be started, or ended: the next one to ask starts another.
                self.ready = None;
                None
            }
        }
    }
}

fn start() -> Receiver<RsaKey> {
    let (put, ready) = sync_channel(READY);
    // Ends by itself when nobody takes keys any more. Without a thread the channel is shut, which `take` sees.
    let thread = thread::Builder::new().name("rsa keys".to_owned());
    drop(thread.spawn(move || while make().is_some_and(|key| put.send(key).is_ok()) {}));
    ready
}

fn make() -> Option<RsaKey> {
    let pair = KeyPair::generate(KeySize::Rsa2048).ok()?;
    let der: Pkcs8V1Der<'static> = pair.as_der().ok()?;
    Some(RsaKey::from_pkcs8(SecretVec::new(der.as_ref().to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyferry_crypto::credential::CredentialKey;

    #[test]
    fn an_empty_pool_answers_at_once_and_each_key_that_comes_is_another_one() {
        let mut pool = RsaPool::default();
        assert!(pool.take().is_none(), "the first is only being made");
        let mut next = || loop {
            match pool.take() {
                Some(key) => return CredentialKey::rs256(key).expect("a key of 2048 bits"),
                None => thread::yield_now(),
            }
        };
        let (first, second) = (next(), next());
        assert_ne!(first.public(), second.public());
        assert!(first.public().verify(b"m", &first.sign(b"m")));
    }
}
