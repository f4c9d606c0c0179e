//! The channel between a client and the enclave: `Noise_NK_P256_AESGCM_SHA256` (suite 1).
//!
//! The client knows the enclave's key from evidence that it verified before; the prologue binds that evidence, so a
//! handshake succeeds only if both mean the same one. Both handshake messages have 81 bytes and carry no payload.
//! Messages afterwards are numbered by the caller, who owns the rule that no number is used twice to seal and
//! none is accepted twice to open.
//!
//! Private keys and the two message keys stay inside aws-lc, which wipes them; snow 0.10 does not wipe its chaining
//! key, which lives until the second message.
//!
//! Absent: rekeying (a session ends long before 2^64 messages), payloads in the handshake, any second suite.

mod resolver;

use snow::{Builder, HandshakeState, StatelessTransportState};
use std::fmt;

use crate::{
    hash::array,
    label::Label,
    random::Random,
    sign::{self, BadKey, P256Scalar},
};

/// Length of both handshake messages: a point and a tag.
pub const HANDSHAKE_LEN: usize = 81;
/// The longest plaintext of one message (Noise, section 3: 65,535 bytes with the tag).
pub const PLAINTEXT_MAX: usize = 65_535 - 16;

/// The handshake failed; to whom and why is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("handshake failed")]
pub struct HandshakeError;

/// The message does not open, is too long, or its number is reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("message refused")]
pub struct TransportError;

/// Which handshake is spoken. Its number is in every envelope and in the prologue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// 1: NK over P-256.
    One,
}

impl Suite {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Suite::One => 1,
        }
    }

    /// The suite of a number, or nothing if this program does not know it.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Suite::One),
            _ => None,
        }
    }

    const fn noise(self) -> &'static str {
        match self {
            Suite::One => "Noise_NK_P256_AESGCM_SHA256",
        }
    }
}

/// Label || suite || SHA-256(evidence) || KEM ciphertext (empty in suite 1).
pub fn prologue(suite: Suite, evidence_hash: &[u8; 32], kem_ciphertext: &[u8]) -> Vec<u8> {
    [Label::NoisePrologue.as_bytes(), &[suite.number()], evidence_hash, kem_ciphertext].concat()
}

/// k_inst: the enclave's static key for the channel, made at boot and never stored.
pub struct ChannelKey {
    scalar: P256Scalar,
    public: [u8; 65],
}

impl ChannelKey {
    /// Makes a fresh key.
    pub fn generate(random: &mut dyn Random) -> Self {
        let key = sign::SigningKey::generate(random);
        Self { public: key.public(), scalar: key.into_scalar() }
    }

    /// Loads a key, for vectors.
    pub fn from_scalar(scalar: &[u8; 32]) -> Result<Self, BadKey> {
        let key = sign::SigningKey::from_scalar(scalar)?;
        Ok(Self { public: key.public(), scalar: key.into_scalar() })
    }

    /// The public point, uncompressed.
    pub fn public(&self) -> [u8; 65] {
        self.public
    }
}

impl fmt::Debug for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelKey")
    }
}

/// The client's side between its message and the answer.
pub struct Initiator(HandshakeState);

impl Initiator {
    /// Begins a handshake with the key that the evidence named; returns message 1 too.
    pub fn start(
        random: &mut dyn Random,
        suite: Suite,
        responder_public: &[u8; 65],
        prologue: &[u8],
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let mut state = builder(random, suite, prologue)?
            .remote_public_key(responder_public)
            .and_then(Builder::build_initiator)
            .map_err(|_| HandshakeError)?;
        let message = write(&mut state)?;
        Ok((Self(state), message))
    }

    /// Takes the answer; from here on the responder is proved to hold the key.
    pub fn finish(self, message: &[u8]) -> Result<Transport, HandshakeError> {
        let mut state = self.0;
        read(&mut state, message)?;
        Transport::new(state)
    }
}

impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Initiator")
    }
}

/// The enclave's side in one step: takes message 1, returns the open channel and message 2.
pub fn respond(
    key: &ChannelKey,
    random: &mut dyn Random,
    suite: Suite,
    prologue: &[u8],
    message: &[u8],
) -> Result<(Transport, Vec<u8>), HandshakeError> {
    let mut state = builder(random, suite, prologue)?
        .local_private_key(key.scalar.expose())
        .and_then(Builder::build_responder)
        .map_err(|_| HandshakeError)?;
    read(&mut state, message)?;
    let answer = write(&mut state)?;
    Ok((Transport::new(state)?, answer))
}

fn builder<'a>(
    random: &mut dyn Random,
    suite: Suite,
    prologue: &'a [u8],
) -> Result<Builder<'a>, HandshakeError> {
    let resolver = resolver::Resolver::new(&sign::random_scalar(random));
    let params = suite.noise().parse().map_err(|_| HandshakeError)?;
    Builder::with_resolver(params, Box::new(resolver)).prologue(prologue).map_err(|_| HandshakeError)
}

fn write(state: &mut HandshakeState) -> Result<Vec<u8>, HandshakeError> {
    let mut message = vec![0; HANDSHAKE_LEN];
    match state.write_message(&[], &mut message) {
        Ok(HANDSHAKE_LEN) => Ok(message),
        _ => Err(HandshakeError),
    }
}

fn read(state: &mut HandshakeState, message: &[u8]) -> Result<(), HandshakeError> {
    if message.len() != HANDSHAKE_LEN {
        return Err(HandshakeError);
    }
    state.read_message(message, &mut []).map(|_| ()).map_err(|_| HandshakeError)
}

/// An open channel: one key per direction, message numbers from the caller.
pub struct Transport {
    state: StatelessTransportState,
    handshake_hash: [u8; 32],
}

impl Transport {
    fn new(state: HandshakeState) -> Result<Self, HandshakeError> {
        let handshake_hash = array(state.get_handshake_hash());
        let state = state.into_stateless_transport_mode().map_err(|_| HandshakeError)?;
        Ok(Self { state, handshake_hash })
    }

    /// Encrypts message `n` of the own direction. The caller never uses a number twice.
    pub fn seal(&self, n: u64, plaintext: &[u8]) -> Result<Vec<u8>, TransportError> {
        let mut message = vec![0; plaintext.len() + 16];
        let len = self.state.write_message(n, plaintext, &mut message).map_err(|_| TransportError)?;
        message.truncate(len);
        Ok(message)
    }

    /// Decrypts message `n` of the other direction. The caller accepts each number once.
    pub fn open(&self, n: u64, message: &[u8]) -> Result<Vec<u8>, TransportError> {
        let mut plaintext = vec![0; message.len().saturating_sub(16)];
        let len = self.state.read_message(n, message, &mut plaintext).map_err(|_| TransportError)?;
        plaintext.truncate(len);
        Ok(plaintext)
    }

    /// Names this session: signed by the client's device with each request.
    pub fn handshake_hash(&self) -> &[u8; 32] {
        &self.handshake_hash
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Script, Seeded, hex, vectors};

    fn open_channel() -> (Transport, Transport) {
        let key = ChannelKey::generate(&mut Seeded::new(1));
        let prologue = prologue(Suite::One, &[5; 32], &[]);
        let (client, m1) =
            Initiator::start(&mut Seeded::new(2), Suite::One, &key.public(), &prologue).unwrap();
        let (enclave, m2) = respond(&key, &mut Seeded::new(3), Suite::One, &prologue, &m1).unwrap();
        assert_eq!((m1.len(), m2.len()), (HANDSHAKE_LEN, HANDSHAKE_LEN));
        (client.finish(&m2).unwrap(), enclave)
    }

    // Written out from the Noise specification in Python (`cryptography` ECDH and AES-GCM): static scalar
    // [0x11; 32], ephemeral scalars [0x22; 32] and [0x33; 32], evidence hash [0x44; 32].
    const MESSAGE_1: &str = concat!(
        "04d65a93977caa3d1b081852ff57a79e465f1660577304baead505dd3a48589cf350185e895372df6221ea3a137557e4",
        "73fddb6755f05bd507c3c533fce9c912851dd186b03001d8b228eaab99f2798add",
    );
    const MESSAGE_2: &str = concat!(
        "0451a7580833898ea1b183cbd7350a4099078c6ef1c1e18e970cd7683035f25e7d0110522712b0b5a7cff08168548698",
        "4a94e6831edac46e7360fa9d834a7a81a1f0286d7a0cee29c4dc81a62afa1b7f7a",
    );
    const HASH: &str = "a0fb55255e911c2fe13823ee27fd5347c2ea4430317e3a93cfb7a11aad3fc15e";
    /// Message 0 of the client, "request", and message 258 of the enclave, "reply".
    const SEALED: [&str; 2] =
        ["61caf0473fb91dc8f89f15a717484272a30bf790ed03b1", "81e913b3cab25499665c985f7343e5120940a5155c"];

    #[test]
    fn the_handshake_is_that_of_another_implementation() {
        let key = ChannelKey::from_scalar(&[0x11; 32]).unwrap();
        let prologue = prologue(Suite::One, &[0x44; 32], &[]);
        let mut first = Script(vec![0x22; 32]);
        let (client, m1) = Initiator::start(&mut first, Suite::One, &key.public(), &prologue).unwrap();
        assert_eq!(m1, hex(MESSAGE_1));
        let mut second = Script(vec![0x33; 32]);
        let (enclave, m2) = respond(&key, &mut second, Suite::One, &prologue, &m1).unwrap();
        assert_eq!(m2, hex(MESSAGE_2));
        let client = client.finish(&m2).unwrap();
        assert_eq!(client.handshake_hash().to_vec(), hex(HASH));
        assert_eq!(client.seal(0, b"request").unwrap(), hex(SEALED[0]));
        assert_eq!(enclave.seal(258, b"reply").unwrap(), hex(SEALED[1]));
    }

    #[test]
    fn both_sides_read_each_other_and_name_the_session_alike() {
        let (client, enclave) = open_channel();
        assert_eq!(client.handshake_hash(), enclave.handshake_hash());
        for n in [0, 7, 3, 1 << 40, u64::MAX - 1] {
            assert_eq!(enclave.open(n, &client.seal(n, b"request").unwrap()).unwrap(), b"request");
            assert_eq!(client.open(n, &enclave.seal(n, b"reply").unwrap()).unwrap(), b"reply");
        }
        assert_eq!(enclave.open(9, &client.seal(9, b"").unwrap()).unwrap(), b"");
    }

    #[test]
    fn replay_under_another_message_number_is_refused() {
        let (client, enclave) = open_channel();
        let message = client.seal(4, b"request").unwrap();
        assert!(enclave.open(5, &message).is_err());
        assert!(enclave.open(4, &message).is_ok());
    }

    #[test]
    fn a_message_reflected_to_its_sender_is_refused() {
        let (client, _) = open_channel();
        let message = client.seal(4, b"request").unwrap();
        assert!(client.open(4, &message).is_err());
    }

    #[test]
    fn every_bit_flip_of_a_message_is_refused() {
        let (client, enclave) = open_channel();
        let good = client.seal(0, b"request").unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(enclave.open(0, &bad).unwrap_err(), TransportError, "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(enclave.open(0, &good[..len]).is_err());
        }
    }

    #[test]
    fn the_reserved_number_and_overlong_messages_are_refused() {
        let (client, enclave) = open_channel();
        assert!(client.seal(u64::MAX, b"x").is_err());
        assert!(enclave.open(u64::MAX, &[0; 32]).is_err());
        let longest = vec![1; PLAINTEXT_MAX];
        assert_eq!(enclave.open(0, &client.seal(0, &longest).unwrap()).unwrap(), longest);
        assert!(client.seal(1, &vec![1; PLAINTEXT_MAX + 1]).is_err());
        assert!(enclave.open(1, &vec![1; 70_000]).is_err());
    }

    #[test]
    fn another_prologue_fails_the_handshake() {
        let key = ChannelKey::generate(&mut Seeded::new(1));
        let mine = prologue(Suite::One, &[5; 32], &[]);
        let (_, m1) = Initiator::start(&mut Seeded::new(2), Suite::One, &key.public(), &mine).unwrap();
        for other in [prologue(Suite::One, &[6; 32], &[]), prologue(Suite::One, &[5; 32], b"kem"), vec![]] {
            let result = respond(&key, &mut Seeded::new(3), Suite::One, &other, &m1);
            assert_eq!(result.unwrap_err(), HandshakeError);
        }
    }

    #[test]
    fn an_enclave_without_the_key_of_the_evidence_fails_the_handshake() {
        let key = ChannelKey::generate(&mut Seeded::new(1));
        let other = ChannelKey::generate(&mut Seeded::new(4));
        let prologue = prologue(Suite::One, &[5; 32], &[]);
        let (_, m1) = Initiator::start(&mut Seeded::new(2), Suite::One, &key.public(), &prologue).unwrap();
        assert!(respond(&other, &mut Seeded::new(3), Suite::One, &prologue, &m1).is_err());
    }

    #[test]
    fn every_bit_flip_of_both_handshake_messages_is_refused() {
        let key = ChannelKey::generate(&mut Seeded::new(1));
        let prologue = prologue(Suite::One, &[5; 32], &[]);
        let start = || Initiator::start(&mut Seeded::new(2), Suite::One, &key.public(), &prologue).unwrap();
        let answer = |m1: &[u8]| respond(&key, &mut Seeded::new(3), Suite::One, &prologue, m1);
        let (_, m1) = start();
        let (_, m2) = answer(&m1).unwrap();
        for bit in 0..HANDSHAKE_LEN * 8 {
            let flip = |good: &[u8]| {
                let mut bad = good.to_vec();
                bad[bit / 8] ^= 1 << (bit % 8);
                bad
            };
            assert!(answer(&flip(&m1)).is_err(), "message 1, bit {bit}");
            assert!(start().0.finish(&flip(&m2)).is_err(), "message 2, bit {bit}");
        }
    }

    #[test]
    fn handshake_messages_of_another_length_are_refused() {
        let key = ChannelKey::generate(&mut Seeded::new(1));
        let prologue = prologue(Suite::One, &[5; 32], &[]);
        for len in [0, 64, 65, 80, 82, 70_000] {
            let result = respond(&key, &mut Seeded::new(3), Suite::One, &prologue, &vec![4; len]);
            assert!(result.is_err(), "{len}");
        }
    }

    #[test]
    fn a_responder_key_that_is_no_point_is_refused() {
        for public in [[0; 65], [4; 65], [0xff; 65]] {
            assert!(Initiator::start(&mut Seeded::new(2), Suite::One, &public, &[]).is_err());
        }
    }

    #[test]
    fn sessions_of_one_key_share_nothing() {
        let (client, enclave) = open_channel();
        let key = ChannelKey::generate(&mut Seeded::new(1));
        let prologue = prologue(Suite::One, &[5; 32], &[]);
        let (other, m1) =
            Initiator::start(&mut Seeded::new(8), Suite::One, &key.public(), &prologue).unwrap();
        let (_, m2) = respond(&key, &mut Seeded::new(9), Suite::One, &prologue, &m1).unwrap();
        let other = other.finish(&m2).unwrap();
        assert_ne!(client.handshake_hash(), other.handshake_hash());
        assert!(enclave.open(0, &other.seal(0, b"request").unwrap()).is_err());
    }

    #[test]
    fn suite_numbers_are_fixed_and_unknown_ones_are_refused() {
        assert_eq!(Suite::from_number(Suite::One.number()), Some(Suite::One));
        assert_eq!(Suite::One.number(), 1);
        assert!([0, 2, 255].iter().all(|&number| Suite::from_number(number).is_none()));
    }

    #[test]
    fn debug_of_the_channel_shows_names_alone() {
        let (client, _) = open_channel();
        assert_eq!(format!("{client:?}"), "Transport");
        let key = format!("{:?}", ChannelKey::from_scalar(&[0x11; 32]).unwrap());
        assert_eq!(key, "ChannelKey");
    }

    #[test]
    fn a_transport_can_be_sent_to_another_thread() {
        fn send<T: Send + Sync>() {}
        send::<Transport>();
        send::<ChannelKey>();
        fn only_send<T: Send>() {}
        only_send::<Initiator>();
    }

    // The public vectors are for 25519: they exercise snow with our cipher, hash and one-shot ephemeral key.
    #[test]
    fn the_public_vectors_of_nk_and_its_psk_forms_pass() {
        let Some(file) = vectors("noise/noise-nk-25519-aesgcm-sha256.json") else { return };
        let all = file["vectors"].as_array().unwrap();
        for vector in all {
            let field = |name: &str| hex(vector[name].as_str().unwrap());
            let name = vector["protocol_name"].as_str().unwrap();
            let place = name.find("psk").map(|at| name[at + 3..=at + 3].parse().unwrap());
            let (ours, theirs) = (field("init_prologue"), field("resp_prologue"));
            let (rs, s) = (field("init_remote_static"), field("resp_static"));
            let psk = vector["init_psks"][0].as_str().map(|text| <[u8; 32]>::try_from(hex(text)).unwrap());
            let side = |ephemeral: &str, prologue| {
                let scalar = P256Scalar::from_slice(&field(ephemeral)).unwrap();
                let resolver = Box::new(resolver::Resolver::new(&scalar));
                Builder::with_resolver(name.parse().unwrap(), resolver).prologue(prologue).unwrap()
            };
            let mut initiator = side("init_ephemeral", &ours).remote_public_key(&rs).unwrap();
            let mut responder = side("resp_ephemeral", &theirs).local_private_key(&s).unwrap();
            if let (Some(place), Some(psk)) = (place, &psk) {
                initiator = initiator.psk(place, psk).unwrap();
                responder = responder.psk(place, psk).unwrap();
            }
            let mut sides = [initiator.build_initiator().unwrap(), responder.build_responder().unwrap()];
            let messages = vector["messages"].as_array().unwrap();
            let text = |index: usize, part: &str| hex(messages[index][part].as_str().unwrap());
            let mut buffer = [0; 1024];
            for index in 0..2 {
                let len = sides[index].write_message(&text(index, "payload"), &mut buffer).unwrap();
                assert_eq!(buffer[..len], text(index, "ciphertext"), "{name}: message {index}");
                let mut payload = [0; 1024];
                let len = sides[1 - index].read_message(&buffer[..len], &mut payload).unwrap();
                assert_eq!(payload[..len], text(index, "payload"));
            }
            let hash = vector["handshake_hash"].as_str().or(vector["handshake_hash_computed"].as_str());
            assert_eq!(sides[0].get_handshake_hash(), hex(hash.unwrap()));
            assert_eq!(sides[1].get_handshake_hash(), hex(hash.unwrap()));
            let [first, second] = sides.map(|side| Transport::new(side).unwrap());
            for index in 2..messages.len() {
                let (from, to) = if index % 2 == 0 { (&first, &second) } else { (&second, &first) };
                let n = (index as u64 - 2) / 2;
                let sealed = from.seal(n, &text(index, "payload")).unwrap();
                assert_eq!(sealed, text(index, "ciphertext"), "{name}: message {index}");
                assert_eq!(to.open(n, &sealed).unwrap(), text(index, "payload"));
            }
        }
        println!("noise: {} vectors", all.len());
    }
}
