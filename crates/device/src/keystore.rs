//! The device's keys in software: level `software`, and every output says so. The `hw` key lies in a file that only
//! its owner reads. The `uv` key lies beside it under Argon2id of the device PIN.
//!
//! What that is worth: nobody who lacks the file signs as this device. Whoever copies the file can try device PINs
//! without a limit; a TPM counts them, software cannot.

use crate::folder::Folder;
use crate::random::SystemRandom;
use keyferry_client::exchange::Signer;
use keyferry_client::flow::FlowError;
use keyferry_crypto::label::Label;
use keyferry_crypto::pin::{Params, harden};
use keyferry_crypto::random;
use keyferry_crypto::seal;
use keyferry_crypto::sign::SigningKey;
use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::PinParams;
use keyferry_wire::frame::Level;
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::{Wire, message};

const HW_FILE: &str = "hw.key";
const UV_FILE: &str = "uv.key";

/// Shortest device PIN.
pub const DEVICE_PIN_CHARS_MIN: usize = 4;

message! {
    /// The `uv` key at rest.
    struct UvFile {
        1 => salt: [u8; 16],
        2 => params: PinParams,
        3 => public: [u8; 65],
        /// The scalar under the hardened device PIN, bound to both public keys.
        4 => sealed: Bytes,
    }
}

/// A device's signing keys. The `uv` key is there once the device PIN was given.
#[derive(Debug)]
pub struct Keystore {
    hw: SigningKey,
    uv_public: Option<[u8; 65]>,
    uv: Option<SigningKey>,
}

impl Keystore {
    /// Makes new keys in place of any old ones; a `uv` key only with a device PIN.
    pub fn create(folder: &Folder, device_pin: Option<&str>, cost: Params) -> Result<Keystore, FlowError> {
        let random = &mut SystemRandom;
        let hw = SigningKey::generate(random);
        folder.write(HW_FILE, hw.scalar().expose())?;
        folder.remove(UV_FILE)?;
        let uv = match device_pin {
            Some(pin) => Some(create_uv(folder, &hw, pin, cost)?),
            None => None,
        };
        Ok(Keystore { hw, uv_public: uv.as_ref().map(SigningKey::public), uv })
    }

    /// Loads the keys of a home; `None` if it has none.
    pub fn open(folder: &Folder) -> Result<Option<Keystore>, FlowError> {
        let Some(scalar) = folder.read(HW_FILE)? else { return Ok(None) };
        let scalar = <&[u8; 32]>::try_from(scalar.as_slice()).map_err(|_| damaged())?;
        let hw = SigningKey::from_scalar(scalar).map_err(|_| damaged())?;
        let uv_public = uv_file(folder)?.map(|file| file.public);
        Ok(Some(Keystore { hw, uv_public, uv: None }))
    }

    /// Opens the `uv` key with the device PIN: from now on, until this value is dropped, the user counts as verified.
    pub fn unlock(&mut self, folder: &Folder, device_pin: &str) -> Result<(), FlowError> {
        let file = uv_file(folder)?.ok_or_else(|| {
            refused("this device has no user-verification key: it was enrolled without a device PIN")
        })?;
        let key = guard(&self.hw, device_pin, &file.salt, file.params)?;
        let hw = self.hw.public();
        let scalar = seal::open(&key, Label::UvGuard, &[&hw, &file.public], &file.sealed)
            .map_err(|_| refused("the device PIN is wrong"))?;
        let scalar = <&[u8; 32]>::try_from(scalar.expose()).map_err(|_| damaged())?;
        self.uv = Some(SigningKey::from_parts(scalar, &file.public).map_err(|_| damaged())?);
        Ok(())
    }

    pub fn hw_public(&self) -> [u8; 65] {
        self.hw.public()
    }

    pub fn uv_public(&self) -> Option<[u8; 65]> {
        self.uv_public
    }

    /// Whether the user was verified.
    pub fn is_unlocked(&self) -> bool {
        self.uv.is_some()
    }
}

impl Signer for Keystore {
    fn sign(&self, level: Level, message: &[u8]) -> Result<Vec<u8>, String> {
        match (level, &self.uv) {
            (Level::Hw, _) => Ok(self.hw.sign(message)),
            (Level::Uv, Some(key)) => Ok(key.sign(message)),
            (Level::Uv, None) => Err("the device PIN is needed for this step".to_owned()),
        }
    }
}

fn create_uv(folder: &Folder, hw: &SigningKey, pin: &str, cost: Params) -> Result<SigningKey, FlowError> {
    if pin.chars().count() < DEVICE_PIN_CHARS_MIN {
        return Err(Refusal::new(Code::Policy, "a device PIN has at least 4 characters").into());
    }
    let random = &mut SystemRandom;
    let uv = SigningKey::generate(random);
    let salt = random::bytes(random);
    let params = PinParams { memory_kib: cost.memory_kib, passes: cost.passes, lanes: cost.lanes };
    let key = guard(hw, pin, &salt, params)?;
    let (hw, public) = (hw.public(), uv.public());
    let sealed =
        seal::seal(&key, Label::UvGuard, &[&hw, &public], uv.scalar().expose(), random::bytes(random));
    let file = UvFile { salt, params, public, sealed: Bytes(sealed) };
    folder.write(UV_FILE, &file.to_bytes())?;
    Ok(uv)
}

/// The key under which the `uv` key lies. Parameters come from our own file, so they are their own floor.
fn guard(
    hw: &SigningKey,
    pin: &str,
    salt: &[u8; 16],
    params: PinParams,
) -> Result<zeroize::Zeroizing<[u8; 32]>, FlowError> {
    let params = Params { memory_kib: params.memory_kib, passes: params.passes, lanes: params.lanes };
    let hardened = harden(pin, &hw.public(), salt, params, params).map_err(|_| damaged())?;
    Ok(zeroize::Zeroizing::new(*hardened.access.expose()))
}

fn uv_file(folder: &Folder) -> Result<Option<UvFile>, FlowError> {
    let Some(bytes) = folder.read(UV_FILE)? else { return Ok(None) };
    UvFile::from_bytes(&bytes).map(Some).map_err(|_| damaged())
}

fn damaged() -> FlowError {
    FlowError::fault("a key file of this home is damaged")
}

fn refused(sentence: &str) -> FlowError {
    Refusal::new(Code::UvRequired, sentence).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyferry_crypto::sign::verify_p256;

    const FAST: Params = Params::insecure_fast_for_tests();

    fn folder() -> (tempfile::TempDir, Folder) {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::create(temp.path()).unwrap();
        (temp, folder)
    }

    #[test]
    fn keys_are_the_same_after_a_restart() {
        let (_temp, folder) = folder();
        let made = Keystore::create(&folder, Some("2580"), FAST).unwrap();
        let mut opened = Keystore::open(&folder).unwrap().unwrap();
        assert_eq!(opened.hw_public(), made.hw_public());
        assert_eq!(opened.uv_public(), made.uv_public());
        opened.unlock(&folder, "2580").unwrap();
        let signature = opened.sign(Level::Uv, b"message").unwrap();
        assert!(verify_p256(&made.uv_public().unwrap(), b"message", &signature));
    }

    #[test]
    fn a_wrong_device_pin_opens_nothing() {
        let (_temp, folder) = folder();
        Keystore::create(&folder, Some("2580"), FAST).unwrap();
        let mut keys = Keystore::open(&folder).unwrap().unwrap();
        let error = keys.unlock(&folder, "2581").unwrap_err();
        assert!(matches!(error, FlowError::Refused(refusal) if refusal.code == Code::UvRequired));
        assert!(keys.sign(Level::Uv, b"message").is_err());
    }

    #[test]
    fn a_device_without_a_pin_has_no_uv_key() {
        let (_temp, folder) = folder();
        let mut keys = Keystore::create(&folder, None, FAST).unwrap();
        assert_eq!(keys.uv_public(), None);
        assert!(keys.unlock(&folder, "2580").is_err());
    }

    #[test]
    fn new_keys_leave_no_old_uv_key_behind() {
        let (_temp, folder) = folder();
        Keystore::create(&folder, Some("2580"), FAST).unwrap();
        Keystore::create(&folder, None, FAST).unwrap();
        assert_eq!(Keystore::open(&folder).unwrap().unwrap().uv_public(), None);
    }

    #[test]
    fn a_uv_file_of_another_device_does_not_open() {
        let (_temp, one) = folder();
        let (_temp2, two) = folder();
        Keystore::create(&one, Some("2580"), FAST).unwrap();
        Keystore::create(&two, Some("2580"), FAST).unwrap();
        one.write(UV_FILE, &two.read(UV_FILE).unwrap().unwrap()).unwrap();
        let mut keys = Keystore::open(&one).unwrap().unwrap();
        assert!(keys.unlock(&one, "2580").is_err());
    }

    #[test]
    fn the_pin_is_not_in_any_file() {
        let (temp, folder) = folder();
        Keystore::create(&folder, Some("canary-device-pin"), FAST).unwrap();
        for entry in std::fs::read_dir(temp.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(6).any(|window| window == b"canary"));
        }
    }
}
