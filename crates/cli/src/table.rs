//! Documents as people read them in a terminal.

use keyferry_crypto::credential::Algorithm;
use keyferry_device::documents::{Attested, AuditDone, Device, PasskeyList, Standing};

/// Columns as wide as their widest cell, two spaces apart.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or_default()).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn heads(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(crate) fn devices(devices: &[Device]) -> String {
    let mut rows = vec![heads(&["DEVICE", "LABEL", "KEYS", "UV", "STATE", "SINCE"])];
    for device in devices {
        let label = if device.this { format!("{} (this one)", device.label) } else { device.label.clone() };
        rows.push(vec![
            device.device.clone(),
            printable(&label),
            device.level.to_owned(),
            if device.uv { "yes" } else { "no" }.to_owned(),
            device.state.to_owned(),
            device.created.clone(),
        ]);
    }
    columns(&rows)
}

pub(crate) fn passkeys(list: &PasskeyList) -> String {
    let mut rows = vec![heads(&["SITE", "USER", "ALG", "CREATED", "ID"])];
    for passkey in &list.passkeys {
        rows.push(vec![
            passkey.rp_id.clone(),
            printable(&passkey.user_name),
            Algorithm::of_cose(passkey.alg)
                .map_or_else(|| passkey.alg.to_string(), |alg| alg.as_str().to_owned()),
            passkey.created.clone(),
            passkey.id.clone(),
        ]);
    }
    let mut text = columns(&rows);
    if !list.synced {
        text.push_str("\nthe service cannot be reached: this is what the device knew last");
    }
    text
}

pub(crate) fn audit(done: &AuditDone) -> String {
    let mut rows = vec![heads(&["#", "TIME", "DEVICE", "WHAT", "OUTCOME", "SITE"])];
    for entry in &done.entries {
        let what = match entry.left {
            Some(left) => format!("{} ({left} left)", entry.kind),
            None => entry.kind.to_owned(),
        };
        rows.push(vec![
            entry.seq.to_string(),
            entry.time.clone(),
            printable(entry.device.as_deref().unwrap_or("no member")),
            what,
            entry.outcome.to_owned(),
            entry.rp_id.clone().unwrap_or_default(),
        ]);
    }
    format!(
        "{}\n{} entries, all of them: complete, in order, and in the signed tree of size {}",
        columns(&rows),
        done.entries.len(),
        done.size
    )
}

pub(crate) fn evidence(shown: &Attested) -> String {
    format!(
        "kind          {}\nmeasurement   {}\ndeployment    {}\nanchor level  {}\ncustody level {}",
        shown.kind, shown.measurement, shown.deployment, shown.anchor_level, shown.custody_level
    )
}

/// What every output says of what it rests on.
pub(crate) fn standing(standing: &Standing) -> String {
    let mut text = String::new();
    for stand_in in &standing.stand_ins {
        text.push_str(&format!(
            "\nstand-in: {stand_in} (no hardware vouches for the enclave; trusted by name)"
        ));
    }
    if standing.unpinned {
        text.push_str("\nunpinned: the log's key was believed at first use");
    }
    text
}

/// Text from elsewhere never moves the cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
