//! What commands print: one JSON document each (DESIGN, section 13). Ids and hashes are base64url, times RFC 3339.

use keyferry_client::audit::{Audited, Entry};
use keyferry_client::base64url::encode;
use keyferry_client::evidence::{Trust, VerifiedEvidence};
use keyferry_client::flow::Enrolled;
use keyferry_client::home::Passkey;
use keyferry_client::sync::Synced;
use keyferry_wire::AccountId;
use keyferry_wire::command::{DeviceInfo, PinStatus, Storage};
use serde::Serialize;

/// What this home believes without proof: in every document.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// The log's key was believed at first use instead of being named by a trust file.
    pub unpinned: bool,
    /// Stand-ins that this home was told to trust by name.
    pub stand_ins: Vec<String>,
}

impl Standing {
    pub(crate) fn of(trust: &Trust) -> Standing {
        let stand_ins = trust.stand_ins.iter().map(|kind| format!("evidence {kind}")).collect();
        Standing { unpinned: !trust.is_pinned(), stand_ins }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct AccountCreated {
    pub account: String,
    #[serde(flatten)]
    pub standing: Standing,
}

/// A device that enrolled or joined.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceAdmitted {
    pub account: String,
    pub device: String,
    /// Where its keys are.
    pub level: &'static str,
    /// Members of the account, this one included.
    pub members: Vec<Device>,
    #[serde(flatten)]
    pub standing: Standing,
}

#[derive(Clone, Debug, Serialize)]
pub struct DeviceList {
    pub devices: Vec<Device>,
    #[serde(flatten)]
    pub standing: Standing,
}

#[derive(Clone, Debug, Serialize)]
pub struct Device {
    pub device: String,
    pub label: String,
    pub level: &'static str,
    pub state: &'static str,
    pub created: String,
    /// Whether it has a user-verification key.
    pub uv: bool,
    /// Whether it is the one that asks.
    pub this: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct PasskeyList {
    pub passkeys: Vec<PasskeyLine>,
    /// Whether the gateway was asked just now; otherwise this is what the device knew.
    pub synced: bool,
    #[serde(flatten)]
    pub standing: Standing,
}

#[derive(Clone, Debug, Serialize)]
pub struct PasskeyLine {
    pub id: String,
    pub rp_id: String,
    pub user_name: String,
    pub display_name: String,
    pub alg: i64,
    pub created: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct SyncDone {
    pub cursor: u64,
    pub changed: u64,
    #[serde(flatten)]
    pub standing: Standing,
}

#[derive(Clone, Debug, Serialize)]
pub struct PinState {
    pub left: u16,
    pub locked: bool,
    pub generation: u32,
    #[serde(flatten)]
    pub standing: Standing,
}

#[derive(Clone, Debug, Serialize)]
pub struct PinChanged {
    pub generation: u32,
    #[serde(flatten)]
    pub standing: Standing,
}

/// A verified history; one that is not whole is refused and never printed.
#[derive(Clone, Debug, Serialize)]
pub struct AuditDone {
    pub complete: bool,
    pub size: u64,
    pub root: String,
    pub entries: Vec<AuditLine>,
    #[serde(flatten)]
    pub standing: Standing,
}

#[derive(Clone, Debug, Serialize)]
pub struct AuditLine {
    pub seq: u64,
    pub time: String,
    pub kind: &'static str,
    pub outcome: &'static str,
    pub device: Option<String>,
    pub rp_id: Option<String>,
    /// PIN tries that were left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<u8>,
    /// Whether the user was verified.
    pub uv: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct Attested {
    pub kind: String,
    pub measurement: String,
    pub stand_in: bool,
    pub anchor_level: u16,
    pub custody_level: u16,
    pub deployment: String,
    #[serde(flatten)]
    pub standing: Standing,
}

impl AccountCreated {
    pub(crate) fn new(account: AccountId, standing: Standing) -> AccountCreated {
        AccountCreated { account: encode(&account.0), standing }
    }
}

impl DeviceAdmitted {
    pub(crate) fn new(
        enrolled: &Enrolled,
        storage: Storage,
        devices: &[DeviceInfo],
        standing: Standing,
    ) -> Self {
        DeviceAdmitted {
            account: encode(&enrolled.account.0),
            device: encode(&enrolled.device.0),
            level: storage.as_str(),
            members: devices.iter().map(|info| Device::new(info, info.device == enrolled.device)).collect(),
            standing,
        }
    }
}

impl Device {
    pub(crate) fn new(info: &DeviceInfo, this: bool) -> Device {
        Device {
            device: encode(&info.device.0),
            label: info.label.clone(),
            level: info.storage.as_str(),
            state: info.state.as_str(),
            created: rfc3339(info.created_ms),
            uv: info.uv,
            this,
        }
    }
}

impl From<&Passkey> for PasskeyLine {
    fn from(passkey: &Passkey) -> PasskeyLine {
        let metadata = &passkey.metadata;
        PasskeyLine {
            id: encode(&passkey.id.0),
            rp_id: metadata.rp_id.clone(),
            user_name: metadata.user_name.clone(),
            display_name: metadata.display_name.clone(),
            alg: metadata.alg,
            created: rfc3339(metadata.created_ms),
        }
    }
}

impl SyncDone {
    pub(crate) fn new(synced: Synced, standing: Standing) -> SyncDone {
        SyncDone { cursor: synced.cursor, changed: synced.changed, standing }
    }
}

impl PinState {
    pub(crate) fn new(status: &PinStatus, standing: Standing) -> PinState {
        PinState { left: status.left, locked: status.locked, generation: status.generation, standing }
    }
}

impl AuditDone {
    pub(crate) fn new(audited: &Audited, standing: Standing) -> AuditDone {
        AuditDone {
            complete: true,
            size: audited.size,
            root: encode(&audited.root),
            entries: audited.entries.iter().map(AuditLine::from).collect(),
            standing,
        }
    }
}

impl From<&Entry> for AuditLine {
    fn from(entry: &Entry) -> AuditLine {
        use keyferry_wire::ledger::Kind;
        let counts = matches!(entry.kind, Kind::Attempt | Kind::Result | Kind::Lock);
        AuditLine {
            seq: entry.seq,
            time: rfc3339(entry.time_ms),
            kind: entry.kind.as_str(),
            outcome: entry.outcome.as_str(),
            device: entry.device.clone(),
            rp_id: entry.rp_id.clone(),
            left: counts.then_some(entry.left),
            uv: entry.verified,
        }
    }
}

impl Attested {
    pub(crate) fn new(evidence: &VerifiedEvidence, standing: Standing) -> Attested {
        Attested {
            kind: evidence.kind().to_owned(),
            measurement: encode(evidence.measurement()),
            stand_in: evidence.is_stand_in(),
            anchor_level: evidence.anchor_level(),
            custody_level: evidence.custody_level(),
            deployment: evidence.aud().to_owned(),
            standing,
        }
    }
}

/// A time in milliseconds since 1970 as RFC 3339 in UTC, with milliseconds.
pub fn rfc3339(time_ms: u64) -> String {
    let (secs, millis) = (time_ms / 1000, time_ms % 1000);
    let (year, month, day) = date(secs / 86_400);
    let (hour, minute, second) = (secs / 3600 % 24, secs / 60 % 60, secs % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Days since 1970-01-01 to a date (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year_of_era + era * 400 + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times_are_written_as_rfc_3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_123), "2000-02-29T00:00:00.123Z");
        assert_eq!(rfc3339(1_795_419_395_000), "2026-11-23T07:36:35.000Z");
        assert_eq!(rfc3339(4_107_542_399_999), "2100-02-28T23:59:59.999Z");
    }
}
