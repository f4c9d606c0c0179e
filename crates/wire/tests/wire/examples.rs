//! Filled examples of every message type: the first has every optional field, the last has none.

use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::*;
use keyferry_wire::door::*;
use keyferry_wire::evidence::*;
use keyferry_wire::frame::*;
use keyferry_wire::publish::*;
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::{
    AccountId, AttemptId, CredentialId, DeviceId, InstanceId, RequestId, SessionId, ShardId, Wire,
};

pub(crate) trait Examples: Wire {
    fn all() -> Vec<Self>;

    fn one() -> Self {
        Self::all().swap_remove(0)
    }
}

macro_rules! every_number {
    ($($name:ty),*) => {$(
        impl Examples for $name {
            fn all() -> Vec<Self> {
                <$name>::ALL.to_vec()
            }
        }
    )*};
}
every_number!(
    IdentityKind,
    Storage,
    DeviceState,
    UserVerification,
    CredProtect,
    Level,
    Code,
    keyferry_wire::door::Drop
);

macro_rules! one_of {
    ($($name:ty: $value:expr),* $(,)?) => {$(
        impl Examples for $name {
            fn all() -> Vec<Self> {
                vec![$value]
            }
        }
    )*};
}

macro_rules! several {
    ($($name:ty: [$($value:expr),* $(,)?]),* $(,)?) => {$(
        impl Examples for $name {
            fn all() -> Vec<Self> {
                vec![$($value),*]
            }
        }
    )*};
}

/// A message with all its optional fields, then the same without them.
macro_rules! optional {
    ($($name:ident { $($full:tt)* } without { $($field:ident: $absent:expr),* })*) => {$(
        impl Examples for $name {
            fn all() -> Vec<Self> {
                let full = $name { $($full)* };
                let bare = $name { $($field: $absent,)* ..full.clone() };
                vec![full, bare]
            }
        }
    )*};
}

/// Bytes that differ from each other, so that a swap shows.
fn fill<const N: usize>(start: u8) -> [u8; N] {
    std::array::from_fn(|at| start.wrapping_add(at as u8))
}

fn bytes(start: u8, len: u8) -> Bytes {
    Bytes((start..start + len).collect())
}

fn one<T: Examples>() -> T {
    T::one()
}

const ACCOUNT: AccountId = AccountId([0x11; 32]);
const DEVICE: DeviceId = DeviceId([0x22; 16]);
const CREDENTIAL: CredentialId = CredentialId([0x33; 16]);
const SHARD: ShardId = ShardId(3);
/// A time beyond 32 bits.
const TIME_MS: u64 = 1_790_000_000_123;
const NOTE: &str = "keyferry.example/3\n42\nAAAA\n\n\u{2014} keyferry.example/3 AAAA\n";

several! {
    Command: [
        Command::Authenticate(one()),
        Command::CreateAccount(one()),
        Command::Enrol(one()),
        Command::Join(one()),
        Command::PinStatus,
        Command::Begin(one()),
        Command::Finish(one()),
        Command::Prepare(one()),
        Command::Expose(one()),
        Command::ListDevices,
        Command::RenameDevice(one()),
        Command::CreatePasskey(one()),
        Command::Assert(one()),
        Command::RenamePasskey(one()),
        Command::DeletePasskey(one()),
    ],
    Answer: [
        Answer::Refused(one()),
        Answer::Account(one()),
        Answer::Member(one()),
        Answer::PinStatus(one()),
        Answer::Evaluated(one()),
        Answer::PinRight,
        Answer::Prepared(one()),
        Answer::Exposed,
        Answer::Devices(one()),
        Answer::Renamed,
        Answer::Created(one()),
        Answer::Asserted(one()),
        Answer::Edited(one()),
    ],
    LargeBlobUse: [LargeBlobUse::Write(one()), LargeBlobUse::Read],
    LargeBlobAnswer: [LargeBlobAnswer::Read(bytes(9, 40)), LargeBlobAnswer::Written],
    ToEnclave: [
        ToEnclave::Hello(one()),
        ToEnclave::Load(one()),
        ToEnclave::Turn(one()),
        ToEnclave::Refresh(one()),
    ],
    FromEnclave: [
        FromEnclave::Evidence(one()),
        FromEnclave::Loaded(one()),
        FromEnclave::Turned(one()),
        FromEnclave::Fault("a tail does not fit its checkpoint".to_owned()),
    ],
    Work: [
        Work { ticket: 7, frame: Some(one()), view: Some(one()) },
        Work { ticket: u64::MAX, frame: None, view: None },
    ],
    OutBody: [
        OutBody::Opened(one()),
        OutBody::Reply(one()),
        OutBody::Need(one()),
        OutBody::Busy,
        OutBody::Later,
        OutBody::Dropped(keyferry_wire::door::Drop::Store),
    ],
    Sealed: [
        Sealed { reply: one(), size: Some(42) },
        Sealed { reply: one(), size: None },
    ],
    Terminal: [Terminal::Empty, Terminal::Leaf(one())],
    SyncPage: [
        SyncPage { rows: vec![one()], cursor: 9, more: false, account: Some(one()) },
        SyncPage { rows: Vec::new(), cursor: 0, more: true, account: None },
    ],
}

optional! {
    Registration {
        hw: bytes(4, 65),
        uv: Some(bytes(70, 65)),
        sealing: fill(9),
        label: "Ada\u{2019}s laptop".to_owned(),
        storage: Storage::Tpm,
    }
    without { uv: None, storage: Storage::Software }
    CreatePasskey {
        rp_id: "login.example.com".to_owned(),
        user_id: bytes(1, 32),
        user_name: "ada@example.com".to_owned(),
        display_name: "Ada Lovelace".to_owned(),
        client_data_hash: fill(60),
        client_data_json: Some(Bytes(br#"{"type":"webauthn.create"}"#.to_vec())),
        algorithms: vec![-7, -257, i64::MIN, i64::MAX],
        exclude: vec![CREDENTIAL, CredentialId(fill(5))],
        user_verification: UserVerification::Preferred,
        prf: Some(one()),
        cred_protect: Some(CredProtect::OptionalWithList),
    }
    without { client_data_json: None, exclude: Vec::new(), prf: None, cred_protect: None }
    PrfSalts { first: fill(81), second: Some(fill(82)) }
    without { second: None }
    PrfOutputs { first: fill(83), second: Some(fill(84)) }
    without { second: None }
    Created {
        id: CREDENTIAL,
        version: 1,
        alg: -7,
        public_key: bytes(30, 77),
        authenticator_data: bytes(31, 100),
        attestation_object: bytes(32, 120),
        prf: Some(one()),
    }
    without { prf: None }
    Asserted {
        id: CREDENTIAL,
        authenticator_data: bytes(33, 37),
        signature: bytes(34, 70),
        user_id: bytes(35, 32),
        prf: Some(one()),
        large_blob: Some(one()),
    }
    without { prf: None, large_blob: None }
    Metadata {
        rp_id: "example.com".to_owned(),
        user_id: bytes(36, 16),
        user_name: "ada".to_owned(),
        display_name: "Ada".to_owned(),
        alg: -7,
        created_ms: TIME_MS,
        cred_protect: Some(CredProtect::Required),
    }
    without { cred_protect: None }
    PasskeyRow {
        id: CREDENTIAL,
        version: 1,
        vault_seq: 4,
        deleted: true,
        epoch: 1,
        blob: bytes(69, 60),
        metadata: bytes(70, 60),
        large_blob: Some(fill(85)),
    }
    without { large_blob: None }
    LargeBlobPut { id: CREDENTIAL, sealed: Some(bytes(6, 97)) }
    without { sealed: None }
    Assert {
        id: CREDENTIAL,
        rp_id: "example.com".to_owned(),
        client_data_hash: fill(61),
        client_data_json: Some(Bytes(br#"{"type":"webauthn.get"}"#.to_vec())),
        user_verification: UserVerification::Required,
        listed: true,
        prf: Some(one()),
        large_blob: Some(one()),
    }
    without { client_data_json: None, listed: false, prf: None, large_blob: None }
    Refusal {
        code: Code::PinWrong,
        message: "the PIN is wrong".to_owned(),
        name: Some("NotAllowedError".to_owned()),
        left: Some(9),
    }
    without { name: None, left: None }
    Load {
        now_ms: TIME_MS,
        name: "keyferry.example".to_owned(),
        shards: 16,
        release: one(),
        service: Some(one()),
        tails: vec![one()],
    }
    without { service: None, tails: Vec::new() }
    AccountView {
        account: ACCOUNT,
        shard: SHARD,
        map_key: fill(12),
        proof: one(),
        state: Some(one()),
        devices: vec![one()],
        passkeys: vec![one()],
    }
    without { state: None, devices: Vec::new(), passkeys: Vec::new() }
    PasskeyView { id: CREDENTIAL, proof: one(), row: Some(one()), large_blob: Some(bytes(7, 97)) }
    without { row: None, large_blob: None }
    DevicePut { device: DEVICE, row: bytes(2, 40), access: Some(fill(13)) }
    without { access: None }
    RequestFrame {
        version: 1,
        suite: 1,
        session: SessionId(fill(40)),
        number: 23,
        ciphertext: bytes(3, 48),
        account: Some(ACCOUNT),
        device: Some(DEVICE),
        passkeys: vec![CREDENTIAL],
        seen: Some(42),
    }
    without { account: None, device: None, passkeys: Vec::new(), seen: None }
    Request {
        version: 1,
        account: Some(ACCOUNT),
        device: Some(DEVICE),
        commands: Bytes(vec![Command::PinStatus].to_bytes()),
        id: RequestId(fill(80)),
        seen: Some(one()),
        key: Some(bytes(4, 65)),
        wrapped: Some(bytes(5, 65)),
        signatures: vec![one(), Signature { level: Level::Uv, ..one() }],
    }
    without { account: None, device: None, seen: None, key: None, wrapped: None, signatures: Vec::new() }
    Reply {
        version: 1,
        id: RequestId(fill(80)),
        answers: vec![Answer::PinRight, Answer::Refused(one())],
        account: Some(one()),
        checkpoint: Some(NOTE.to_owned()),
    }
    without { answers: Vec::new(), account: None, checkpoint: None }
}

one_of! {
    Authenticate: Authenticate { kind: IdentityKind::Local, name: "ada".to_owned(), proof: fill(1) },
    Account: Account {
        account: ACCOUNT,
        shard: SHARD,
        origin: "keyferry.example/3".to_owned(),
        log_key: "keyferry.example/3+0badcafe+AQID".to_owned(),
        members: 2,
    },
    Member: Member {
        account: one(),
        device: DEVICE,
        secrets: bytes(6, 60),
        members: vec![one()],
        map_key: fill(14),
    },
    MemberSecrets: MemberSecrets {
        epoch: 1,
        wrapped: bytes(7, 65),
        member_key: bytes(8, 65),
        audit_key: fill(15),
        metadata_key: fill(16),
        access: fill(17),
    },
    DeviceInfo: DeviceInfo {
        device: DEVICE,
        index: 255,
        label: "phone".to_owned(),
        storage: Storage::Software,
        uv: true,
        state: DeviceState::Member,
        created_ms: TIME_MS,
    },
    Devices: Devices { devices: vec![one()] },
    RenameDevice: RenameDevice { device: DEVICE, label: "tablet".to_owned() },
    PinParams: PinParams { memory_kib: 65_536, passes: 3, lanes: 1 },
    PinStatus: PinStatus { generation: 2, salt: fill(18), params: one(), left: 10, locked: false },
    Begin: Begin { generation: 2, attempt: AttemptId(fill(19)), blinded: fill(20) },
    Evaluated: Evaluated {
        generation: 2,
        element: fill(21),
        proof: fill(22),
        public: fill(23),
        commitment: fill(24),
        left: 9,
    },
    Finish: Finish { attempt: AttemptId(fill(19)), value: fill(25) },
    Prepare: Prepare { salt: fill(26), params: one(), blinded: fill(27) },
    Expose: Expose { generation: 3, client_key: fill(28), commitment: fill(29) },
    RenamePasskey: RenamePasskey {
        id: CREDENTIAL,
        version: 24,
        user_name: "ada".to_owned(),
        display_name: String::new(),
    },
    DeletePasskey: DeletePasskey { id: CREDENTIAL, version: 256 },
    Edited: Edited { id: CREDENTIAL, version: 65_536 },
    LargeBlobWrite: LargeBlobWrite { version: 3, blob: bytes(8, 40) },
    Hello: Hello { version: 1, challenge: fill(37), now_ms: TIME_MS },
    Release: Release { root: 1, sealed: bytes(38, 80), custody_level: 0 },
    ServiceRow: ServiceRow {
        log_id: fill(39),
        root: 1,
        sealed: bytes(40, 65),
        name: "keyferry.example".to_owned(),
        shards: 16,
    },
    Tail: Tail {
        shard: SHARD,
        checkpoint: NOTE.to_owned(),
        frontier: vec![fill(41), fill(42)],
        seal: bytes(0, 224),
        inclusion: vec![fill(43)],
    },
    Loaded: Loaded {
        service: one(),
        evidence: one(),
        log_keys: vec!["keyferry.example/3+0badcafe+AQID".to_owned()],
        batches: vec![one()],
        instance: InstanceId(fill(44)),
    },
    Refresh: Refresh { now_ms: TIME_MS },
    BatchRef: BatchRef { shard: SHARD, number: 4_294_967_296 },
    Turn: Turn { now_ms: TIME_MS, committed: vec![one()], opens: vec![one()], work: vec![one()] },
    Open: Open { ticket: 1, open: one() },
    AccountState: AccountState {
        row: bytes(45, 60),
        seq: 12,
        head: fill(46),
        vault_seq: 4,
        vault_root: fill(47),
    },
    DeviceRow: DeviceRow { device: DEVICE, row: bytes(48, 60) },
    Turned: Turned { out: vec![one()], batches: vec![one()] },
    Out: Out { ticket: 7, body: one() },
    Need: Need {
        account: ACCOUNT,
        shard: SHARD,
        map_key: fill(49),
        devices: vec![DEVICE],
        passkeys: vec![CREDENTIAL],
        large_blobs: vec![CREDENTIAL],
    },
    Batch: Batch {
        shard: SHARD,
        number: 8,
        first_leaf: 40,
        leaves: bytes(1, 224),
        checkpoint: NOTE.to_owned(),
        accounts: vec![one()],
    },
    AccountPut: AccountPut {
        account: ACCOUNT,
        map_key: fill(50),
        state: one(),
        devices: vec![one()],
        passkeys: vec![one()],
        leaves: vec![0, 999],
        large_blobs: vec![one()],
    },
    Evidence: Evidence {
        version: 1,
        kind: SIM.to_owned(),
        report: bytes(51, 100),
        endorsements: vec![bytes(52, 30)],
        init_data: Bytes::default(),
        runtime_data: Bytes(br#"{"v":1}"#.to_vec()),
    },
    SimReport: SimReport { measurement: fill(53), debug: false, report_data: fill(54) },
    SessionOpen: SessionOpen { version: 1, suite: 1, evidence: fill(55), message: bytes(56, 81) },
    SessionOpened: SessionOpened { version: 1, session: SessionId(fill(57)), message: bytes(58, 81) },
    ReplyFrame: ReplyFrame {
        version: 1,
        session: SessionId(fill(57)),
        number: 24,
        ciphertext: bytes(59, 48),
        consistency: vec![fill(60), fill(61)],
    },
    Signature: Signature { level: Level::Hw, alg: -7, signature: bytes(62, 70) },
    Head: Head { size: 42, root: fill(63) },
    AccountHead: AccountHead { seq: 12, head: fill(64), vault_seq: 4, vault_root: fill(65) },
    MapEntry: MapEntry { key: fill(66), value: fill(67) },
    MapProof: MapProof { siblings: vec![[0; 32], fill(68)], terminal: Terminal::Leaf(one()) },
    AccountProof: AccountProof {
        map_key: fill(71),
        row: fill(72),
        seq: 12,
        head: fill(73),
        vault_seq: 4,
        vault_root: fill(74),
        proof: one(),
        seal: bytes(2, 224),
        inclusion: vec![fill(75)],
        checkpoint: NOTE.to_owned(),
        consistency: vec![fill(76)],
    },
    AuditEntry: AuditEntry { index: 41, leaf: bytes(3, 224), inclusion: vec![fill(77)] },
    AuditPage: AuditPage { account: one(), first: 1, entries: vec![one()], more: true },
    Route: Route { account: ACCOUNT, shard: SHARD, instance: InstanceId(fill(78)) },
}
