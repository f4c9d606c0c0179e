//! Every limit of the protocol with its reason.

/// Version of every envelope.
pub const VERSION: u16 = 1;
/// Suite 1: Noise_NK_P256_AESGCM_SHA256, VOPRF(ristretto255, SHA-512), AES-256-GCM, HKDF-SHA-256.
pub const SUITE: u16 = 1;

/// PIN tries per account over all its devices (P6; NIST SP 800-63B-4 allows at most 10 in a row).
pub const PIN_TRIES_MAX: u8 = 10;
/// An open last try, and a prepared PIN, end after this.
pub const PIN_OPEN_MS: u64 = 10 * 60 * 1000;
/// Failures in the window of `PIN_WINDOW_MS` after which the PIN rests.
pub const PIN_FAILURES_MAX: usize = 30;
/// PIN changes and resets in the same window.
pub const PIN_RESETS_MAX: usize = 5;
pub const PIN_WINDOW_MS: u64 = 30 * 24 * 3600 * 1000;

/// Wrong passwords per hour and account.
pub const PASSWORD_FAILURES_MAX: usize = 10;
pub const PASSWORD_WINDOW_MS: u64 = 3600 * 1000;

/// Operations whose outcome a device's row keeps for retries.
pub const OPS_KEPT: usize = 16;
/// Assertions of one device per minute: far above a person, far below a thief's wish.
pub const ASSERTIONS_PER_MINUTE: u32 = 120;
/// Devices of an account that are members or were.
pub const DEVICES_MAX: usize = 200;

/// WebAuthn L3 section 5.4.3: a user handle has 1 to 64 bytes.
pub const USER_ID_MAX: usize = 64;
/// Longest domain name (RFC 1035).
pub const RP_ID_MAX: usize = 253;
/// Names are shown to people; WebAuthn lets an authenticator cut at 64 bytes, we keep four times that.
pub const NAME_MAX: usize = 256;
pub const LABEL_MAX: usize = 64;
/// Entries of excludeCredentials or allowCredentials that are looked at.
pub const CREDENTIAL_LIST_MAX: usize = 128;
/// clientDataJSON that is handed to the enclave.
pub const CLIENT_DATA_MAX: usize = 8 * 1024;
/// A passkey's large blob (WebAuthn L3, 10.1.5, asks for room for one at least): a certificate chain or a document, not a
/// file; eight of them with their rows are far below what a request frame or a turn takes.
pub const LARGE_BLOB_MAX: usize = 8 * 1024;
/// Commands in one request.
pub const COMMANDS_MAX: usize = 8;

/// Requests and replies are padded to a multiple of this.
pub const PADDING: usize = 256;
/// One request frame of a client.
pub const FRAME_MAX: usize = 64 * 1024;
/// One frame between gateway and enclave.
pub const DOOR_FRAME_MAX: usize = 64 * 1024 * 1024;
/// Sessions an enclave keeps; the one idle longest goes first.
pub const SESSIONS_MAX: usize = 16 * 1024;
pub const SESSION_IDLE_MS: u64 = 10 * 60 * 1000;
pub const SESSION_MESSAGES_MAX: u64 = 1 << 20;
/// Evidence is made anew this often; its keys serve open sessions for `SESSION_IDLE_MS` more.
pub const EVIDENCE_LIFE_MS: u64 = 3600 * 1000;
/// Events in one batch.
pub const BATCH_EVENTS_MAX: usize = 1000;
