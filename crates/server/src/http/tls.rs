//! TLS 1.3 with a certificate that may change while the service runs.
//!
//! The files are read every few seconds and whenever the operator asks (SIGHUP). A pair that can be served replaces
//! the one before it, for the handshakes from then on; connections go on under the certificate that they began with.
//! A pair that cannot be served (half-written, or the key of another certificate) is told once, and the old one stays.

use crate::certificate;
use crate::metrics::Metrics;
use aws_lc_rs::digest::{Context, SHA256};
use rustls::ServerConfig;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Certificate chain and key, in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub certificates: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("reading {}: {cause}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("reading {}: {cause}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: PemError,
    },
    /// Key and certificate do not go together.
    #[error("the TLS certificate and key cannot be used: {0}")]
    Config(#[from] rustls::Error),
}

/// The files are looked at so often.
const POLL: Duration = Duration::from_secs(2);
/// A certificate that ends so soon is told every day.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(21 * 24 * 3600);
const WARN_EVERY: Duration = Duration::from_secs(24 * 3600);

/// What the two files held at one moment.
struct Files {
    certificates: Vec<u8>,
    key: Vec<u8>,
}

/// A pair that can be served.
pub struct Pair {
    config: Arc<ServerConfig>,
    /// When the leaf ends, in seconds since 1970; unknown for a certificate that cannot be read that far.
    pub not_after: Option<u64>,
    /// The leaf in DER.
    pub leaf: CertificateDer<'static>,
    mark: Vec<u8>,
}

impl Files {
    fn read(files: &TlsFiles) -> Result<Files, TlsError> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|cause| TlsError::Read { path: path.clone(), cause })
        };
        Ok(Files { certificates: read(&files.certificates)?, key: read(&files.key)? })
    }

    /// Tells one content from another; the key itself is not kept for it.
    fn mark(&self) -> Vec<u8> {
        let mut context = Context::new(&SHA256);
        for part in [&self.certificates, &self.key] {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        context.finish().as_ref().to_vec()
    }

    fn pair(&self, files: &TlsFiles) -> Result<Pair, TlsError> {
        let failed = |path: &PathBuf| {
            let path = path.clone();
            |cause| TlsError::File { path, cause }
        };
        let chain = CertificateDer::pem_slice_iter(&self.certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed(&files.certificates))?;
        let leaf =
            chain.first().cloned().ok_or(PemError::NoItemsFound).map_err(failed(&files.certificates))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(failed(&files.key))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Pair {
            config: Arc::new(config),
            not_after: certificate::not_after(&leaf),
            leaf,
            mark: self.mark(),
        })
    }
}

/// Reads a pair as a service would serve it.
pub fn load(files: &TlsFiles) -> Result<Pair, TlsError> {
    Files::read(files)?.pair(files)
}

/// Looks after the files of a service.
pub struct TlsKeeper {
    files: TlsFiles,
    /// Content that is served.
    serving: Vec<u8>,
    /// Content that was found wanting last, and told.
    told: Option<Vec<u8>>,
    not_after: Option<u64>,
    warned: Option<Instant>,
    acceptor: watch::Sender<TlsAcceptor>,
    metrics: Arc<Metrics>,
}

impl TlsKeeper {
    /// Serves the first pair; the receiver has the acceptor of each moment.
    pub fn start(
        files: TlsFiles,
        pair: &Pair,
        metrics: Arc<Metrics>,
    ) -> (TlsKeeper, watch::Receiver<TlsAcceptor>) {
        let (acceptor, receiver) = watch::channel(TlsAcceptor::from(Arc::clone(&pair.config)));
        let mut keeper = TlsKeeper {
            files,
            serving: Vec::new(),
            told: None,
            not_after: None,
            warned: None,
            acceptor,
            metrics,
        };
        keeper.served(pair);
        (keeper, receiver)
    }

    /// Looks at the files now and then, and at each message; ends with the sender.
    pub fn run(mut self, asked: &Receiver<()>) {
        loop {
            match asked.recv_timeout(POLL) {
                Ok(()) => {
                    // Whoever asks is told again what was told before.
                    self.told = None;
                    self.look();
                }
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.warn_if_due();
        }
    }

    /// Serves what the files hold now, if it is new and can be served.
    fn look(&mut self) {
        let found = Files::read(&self.files);
        let mark = found.as_ref().map(Files::mark).unwrap_or_default();
        if mark == self.serving || self.told.as_ref() == Some(&mark) {
            return;
        }
        match found.and_then(|found| found.pair(&self.files)) {
            Ok(pair) => {
                self.acceptor.send_replace(TlsAcceptor::from(Arc::clone(&pair.config)));
                self.metrics.tls_reloads.fetch_add(1, Ordering::Relaxed);
                self.served(&pair);
                tracing::info!(
                    not_after = pair.not_after,
                    "new connections get the TLS certificate read now"
                );
            }
            Err(error) => {
                self.told = Some(mark);
                self.metrics.tls_reload_failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    %error,
                    "the TLS files cannot be served: the certificate read before stays in use; put a matching pair in place"
                );
            }
        }
    }

    fn served(&mut self, pair: &Pair) {
        self.serving.clone_from(&pair.mark);
        self.told = None;
        self.not_after = pair.not_after;
        self.warned = None;
        self.metrics.tls_not_after.store(pair.not_after.unwrap_or(0), Ordering::Relaxed);
        self.warn_if_due();
    }

    fn warn_if_due(&mut self) {
        let Some(not_after) = self.not_after else { return };
        let left = not_after.saturating_sub(now_secs());
        if left > EXPIRY_WARNING.as_secs() || self.warned.is_some_and(|at| at.elapsed() < WARN_EVERY) {
            return;
        }
        self.warned = Some(Instant::now());
        let days_left = left / (24 * 3600);
        tracing::warn!(
            days_left,
            not_after,
            "the TLS certificate ends soon: put a new pair in place of its files"
        );
    }
}

fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn write_pair(folder: &Path) -> String {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = made.signing_key.serialize_pem();
        std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), &key).unwrap();
        key
    }

    fn keeper(folder: &Path) -> (TlsKeeper, watch::Receiver<TlsAcceptor>, Arc<Metrics>) {
        let files = TlsFiles { certificates: folder.join("cert.pem"), key: folder.join("key.pem") };
        let metrics = Arc::new(Metrics::default());
        let pair = load(&files).unwrap();
        let (keeper, acceptor) = TlsKeeper::start(files, &pair, Arc::clone(&metrics));
        (keeper, acceptor, metrics)
    }

    #[test]
    fn a_new_pair_is_served_and_a_broken_one_is_not() {
        let temp = tempfile::tempdir().unwrap();
        write_pair(temp.path());
        let (mut keeper, acceptor, metrics) = keeper(temp.path());
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let first = Arc::as_ptr(acceptor.borrow().config());
        keeper.look();
        assert_eq!((count(&metrics.tls_reloads), count(&metrics.tls_reload_failures)), (0, 0), "nothing new");

        // The new certificate lies there, the key is still the old one; then half a key; then nothing.
        let old_key = std::fs::read_to_string(temp.path().join("key.pem")).unwrap();
        let new_key = write_pair(temp.path());
        for (at, key) in [&old_key[..], &new_key[..new_key.len() / 2], ""].into_iter().enumerate() {
            std::fs::write(temp.path().join("key.pem"), key).unwrap();
            keeper.look();
            keeper.look();
            assert_eq!(count(&metrics.tls_reload_failures), u64::try_from(at).unwrap() + 1, "told once");
            assert_eq!(Arc::as_ptr(acceptor.borrow().config()), first, "the old pair stays");
        }
        std::fs::write(temp.path().join("key.pem"), &new_key).unwrap();
        keeper.look();
        assert_eq!(count(&metrics.tls_reloads), 1);
        assert_ne!(Arc::as_ptr(acceptor.borrow().config()), first);
    }

    #[test]
    fn the_end_of_the_certificate_is_a_metric() {
        let temp = tempfile::tempdir().unwrap();
        write_pair(temp.path());
        let (_keeper, _acceptor, metrics) = keeper(temp.path());
        // rcgen's default is the first of January 4096.
        assert_eq!(metrics.tls_not_after.load(Ordering::Relaxed), 67_090_118_400);
        assert!(metrics.text().contains("keyferry_tls_not_after_seconds 67090118400\n"));
    }
}
