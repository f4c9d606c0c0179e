//! The software token: a file with the root key, the named stand-in for an HSM (custody level 0). It sits behind the
//! seam of the key broker and sends the same release message: sealed to the enclave whose evidence it appraised, for
//! one challenge. Whoever reads the file has the root key, and a production policy refuses it.

use crate::platform;
use keyferry_client::evidence::appraise_for_release;
use keyferry_crypto::random;
use keyferry_crypto::release;
use keyferry_crypto::tree::RootKey;
use keyferry_enclave::HardwareRandom;
use keyferry_server::KeyBroker;
use keyferry_wire::door::Release;
use keyferry_wire::evidence::{Evidence, SIM};
use std::fs;
use std::io::Write;
use std::path::Path;
use zeroize::Zeroizing;

/// Number of the one root key that a software token holds.
const ROOT: u32 = 1;
const HEADER: &str = "keyferry software token (stand-in for an HSM), version 1\n";

pub(crate) struct SoftwareToken {
    key: RootKey,
    random: HardwareRandom,
}

impl SoftwareToken {
    /// Opens the token of a data folder, or makes it. A store without its token is never given a new one: the new
    /// key would open nothing.
    pub(crate) fn open_or_make(folder: &Path, store_exists: bool) -> Result<SoftwareToken, String> {
        let file = folder.join("root.key");
        let mut random = HardwareRandom::default();
        match fs::read(&file) {
            Ok(bytes) => {
                let bytes = Zeroizing::new(bytes);
                let key = bytes.strip_prefix(HEADER.as_bytes()).and_then(RootKey::from_slice);
                let key = key.ok_or(format!("{} is not a software token", file.display()))?;
                Ok(SoftwareToken { key, random })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !store_exists => {
                let key = RootKey::random(&mut random);
                write_private(&file, &key).map_err(|error| {
                    format!("cannot write the software token {}: {error}", file.display())
                })?;
                Ok(SoftwareToken { key, random })
            }
            Err(error) => Err(format!(
                "cannot read the software token {}: {error}; without it the store cannot be opened: bring it back from a back-up",
                file.display()
            )),
        }
    }
}

fn write_private(file: &Path, key: &RootKey) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let temporary = file.with_extension("new");
    let mut out = platform::create_private(&temporary)?;
    out.write_all(HEADER.as_bytes())?;
    out.write_all(key.expose())?;
    out.sync_all()?;
    fs::rename(&temporary, file)?;
    fs::File::open(folder)?.sync_all()
}

impl KeyBroker for SoftwareToken {
    fn challenge(&mut self) -> [u8; 32] {
        random::bytes(&mut self.random)
    }

    fn release(&mut self, challenge: &[u8; 32], evidence: &Evidence) -> Result<Release, String> {
        let verified =
            appraise_for_release(evidence, challenge, &[SIM]).map_err(|reason| reason.to_string())?;
        let custody = self.custody_level();
        release::seal(&self.key, ROOT, custody, challenge, verified.hpke_key(), &mut self.random)
            .map_err(|_| "the enclave's key cannot be sealed to".to_owned())
    }

    fn custody_level(&self) -> u16 {
        0
    }
}
