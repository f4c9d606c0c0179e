//! The owner's view of the ledger, and what an operator's edits of the store come to: a start that is refused, a
//! command that is refused, an alarm; never a wrong success.

use crate::harness::{
    Device, PATIENCE, Person, Said, Service, StoredRow, Tables, World, assert_signed_by, copy_folder,
    creation, from_base64url, place, request_for,
};
use rusqlite::types::Value as Cell;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const SITE: &str = "https://example.org";
const RP_ID: &str = "example.org";

#[test]
fn audit_tells_the_whole_story_in_order() {
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol_verifying("laptop");
    let created = laptop.create(SITE, &creation(RP_ID, "ada")).done();
    let id = created["id"].as_str().unwrap();
    laptop.get_verified(SITE, &request_for(RP_ID, &[id])).done();
    let phone = ada.device("phone");
    ada.try_join("phone", &phone, &world.file("wrong", "wrong-and-long")).refused("pin_wrong");
    ada.try_join("phone", &phone, &ada.pin).done();
    phone.get(SITE, &request_for(RP_ID, &[id])).done();
    phone.run(&["passkey", "rename", "--id", id, "--user-name", "ada l."]).done();
    phone.run(&["device", "rename", "--label", "pocket"]).done();
    laptop.run(&["passkey", "delete", "--id", id]).done();

    let document = laptop.run(&["audit"]).done();
    assert_eq!(document["complete"], true);
    assert!(document["size"].as_u64().unwrap() > 10);
    assert_eq!(from_base64url(&document["root"]).len(), 32);
    let entries = document["entries"].as_array().unwrap();
    let seqs: Vec<_> = entries.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=u64::try_from(entries.len()).unwrap()).collect::<Vec<_>>());
    let times: Vec<_> = entries.iter().map(|entry| entry["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted() && times.iter().all(|time| time.ends_with('Z')), "{times:?}");
    let told: Vec<_> = entries
        .iter()
        .filter(|entry| entry["kind"] != "authenticate")
        .map(|entry| {
            (text(entry, "kind"), text(entry, "outcome"), text(entry, "device"), text(entry, "rp_id"))
        })
        .collect();
    let expected = [
        ("create-account", "done", "", ""),
        ("enrol", "done", "laptop", ""),
        ("prepare", "done", "laptop", ""),
        ("expose", "done", "laptop", ""),
        ("create-passkey", "done", "laptop", RP_ID),
        ("assert", "done", "laptop", RP_ID),
        ("attempt", "done", "", ""),
        ("result", "refused", "", ""),
        ("attempt", "done", "", ""),
        ("result", "done", "", ""),
        ("join", "done", "pocket", ""),
        ("assert", "done", "pocket", RP_ID),
        ("rename-passkey", "done", "pocket", RP_ID),
        ("rename-device", "done", "pocket", ""),
        ("delete-passkey", "done", "laptop", RP_ID),
    ];
    assert_eq!(told, expected, "{document:#}");
    // The other device reads the same, and it is all still there after a restart.
    assert_eq!(&phone.audit(), entries);
    let mut service = service;
    service.stop();
    service.start_again();
    assert_eq!(&laptop.audit(), entries);
}

fn text<'a>(entry: &'a Value, member: &str) -> &'a str {
    entry[member].as_str().unwrap_or_default()
}

/// A deployment after some use, stopped, with a copy of how it was earlier.
struct Scene {
    world: World,
    service: Service,
    base: PathBuf,
    earlier: PathBuf,
    /// Ada's laptop, Eve's laptop, and Ada's phone, which has joined and asked for nothing yet.
    people: [Witness; 3],
}

/// Somebody with a device, and what is true about their account.
#[derive(Clone)]
struct Witness {
    name: &'static str,
    device: Device,
    created: Value,
    audit: Vec<Value>,
    passkeys: Vec<String>,
    devices: Value,
}

/// What came of an edit.
#[derive(Debug)]
enum Outcome {
    NotStarted(String),
    /// Commands that did not succeed, as `NAME COMMAND`, and the alarms that were counted.
    Ran {
        failed: Vec<String>,
        alarms: u64,
    },
}

impl Scene {
    fn new() -> Scene {
        let world = World::new();
        // One shard, so that both accounts share a log and a map.
        let mut service = Service::start(&world.data(), &["--shards", "1"]);
        let people = ["ada", "eve"].map(|name| Person::new(&world, &service, name));
        let laptops = people.each_ref().map(|person| person.enrol("laptop"));
        let first = laptops.each_ref().map(|laptop| laptop.create(SITE, &creation(RP_ID, "one")).done());
        let gone = laptops[0].create("https://example.com", &creation("example.com", "two")).done();
        laptops[0].create("https://example.net", &creation("example.net", "three")).done();
        service.stop();
        let earlier = world.path("earlier");
        copy_folder(service.data(), &earlier);
        service.start_again();
        for (laptop, created) in laptops.iter().zip(&first) {
            let id = created["id"].as_str().unwrap();
            laptop.run(&["passkey", "rename", "--id", id, "--user-name", "renamed"]).done();
            laptop.get(SITE, &request_for(RP_ID, &[id])).done();
        }
        laptops[0].run(&["passkey", "delete", "--id", gone["id"].as_str().unwrap()]).done();
        let phone = people[0].join("phone");
        let witness = |name, device: &Device, created: &Value| Witness {
            name,
            device: device.clone(),
            created: created.clone(),
            audit: device.audit(),
            passkeys: sorted(device.passkey_ids()),
            devices: without_this(&device.run(&["device", "list"]).done()),
        };
        let ada = witness("ada", &laptops[0], &first[0]);
        // What it reads it must check from the ground up.
        let phone = Witness { name: "phone", device: phone, ..ada.clone() };
        let people = [ada, witness("eve", &laptops[1], &first[1]), phone];
        service.stop();
        let base = world.path("base");
        copy_folder(service.data(), &base);
        Scene { world, service, base, earlier, people }
    }

    /// Lets somebody edit a fresh copy of the data folder, starts the service on it, and has everybody look.
    #[track_caller]
    fn after(&mut self, edit: impl FnOnce(&Path)) -> Outcome {
        let data = self.world.data();
        copy_folder(&self.base, &data);
        edit(&data);
        if let Err(refused) = self.service.try_start_again() {
            assert_eq!(refused.status, Some(1), "{refused:?}");
            assert!(!refused.said.contains("panicked"), "{refused:?}");
            let sentence = refused.said.trim_end().lines().last().unwrap_or_default().to_owned();
            assert!(sentence.contains(' '), "no sentence: {refused:?}");
            return Outcome::NotStarted(sentence);
        }
        let failed = self.people.iter().flat_map(|witness| witness.look(&self.world)).collect();
        let alarms = self.service.metric("keyferry_store_refused_total");
        self.service.kill();
        Outcome::Ran { failed, alarms }
    }

    /// An edit that the start, or each of these commands, must refuse.
    #[track_caller]
    fn refused(&mut self, what: &str, commands: &[&str], edit: impl FnOnce(&Path)) {
        let outcome = self.after(edit);
        println!("{what}: {outcome:?}");
        if let Outcome::Ran { failed, .. } = outcome {
            for command in commands {
                assert!(
                    failed.iter().any(|other| other == command),
                    "{what}: {command} succeeded; {failed:?}"
                );
            }
        }
    }

    /// The same, of rows that the enclave looks at: the operator is alarmed too.
    #[track_caller]
    fn alarmed(&mut self, what: &str, commands: &[&str], edit: impl FnOnce(&Path)) {
        let outcome = self.after(edit);
        println!("{what}: {outcome:?}");
        if let Outcome::Ran { failed, alarms } = outcome {
            for command in commands {
                assert!(
                    failed.iter().any(|other| other == command),
                    "{what}: {command} succeeded; {failed:?}"
                );
            }
            assert!(alarms > 0, "{what}: no alarm in /metrics; {failed:?}");
        }
    }

    fn earlier_row(&self, table: &'static str, column: &str, wanted: &[u8]) -> StoredRow {
        let rows = Tables::open(&self.earlier).rows(table);
        rows.into_iter().find(|row| row.bytes(column) == wanted).expect("it was there")
    }

    /// Credential id of the first passkey of one of the two.
    fn id(&self, person: usize) -> Vec<u8> {
        from_base64url(&self.people[person].created["id"])
    }
}

impl Witness {
    /// Runs every command that reads or signs on a copy of the home; names those that did not succeed. One that
    /// succeeds must have told the truth.
    fn look(&self, world: &World) -> Vec<String> {
        let home = world.path(&format!("{}.copy", self.name));
        copy_folder(&self.device.home, &home);
        let device = Device { home, ..self.device.clone() };
        let mut failed = Vec::new();
        let mut ask = |what: &str, said: Said| -> Option<Value> {
            assert!(said.took < PATIENCE, "{said}");
            if said.status == Some(0) {
                return Some(said.done());
            }
            assert!(!said.failed().is_empty());
            failed.push(format!("{} {what}", self.name));
            None
        };
        let options = request_for(RP_ID, &[self.created["id"].as_str().unwrap()]);
        if let Some(audit) = ask("audit", device.run(&["audit"])) {
            assert_eq!(audit["complete"], true);
            let mut entries = audit["entries"].as_array().unwrap().clone();
            // A device that does not know a passkey cannot name its relying party.
            for (entry, truth) in entries.iter_mut().zip(&self.audit) {
                if entry["rp_id"].is_null() {
                    entry["rp_id"] = truth["rp_id"].clone();
                }
            }
            // Since then others who looked have signed in.
            let since = entries.split_off(self.audit.len().min(entries.len()));
            assert_eq!(entries, self.audit);
            assert!(since.iter().all(|entry| entry["kind"] == "assert"), "{since:?}");
        }
        if let Some(list) = ask("list", device.run(&["passkey", "list"])) {
            let ids = list["passkeys"].as_array().unwrap().iter();
            let ids = sorted(ids.map(|passkey| passkey["id"].as_str().unwrap().to_owned()).collect());
            assert_eq!(ids, self.passkeys);
        }
        ask("sync", device.run(&["sync"]));
        if let Some(devices) = ask("devices", device.run(&["device", "list"])) {
            assert_eq!(without_this(&devices), self.devices);
        }
        if let Some(status) = ask("pin", device.run(&["pin", "status"])) {
            assert_eq!(status["left"], 10);
        }
        if let Some(assertion) = ask("get", device.get(SITE, &options)) {
            assert_signed_by(&self.created, &assertion, &options);
        }
        failed
    }
}

/// The list of devices, but for the mark at the one that asks.
fn without_this(document: &Value) -> Value {
    let mut devices = document["devices"].clone();
    for device in devices.as_array_mut().unwrap() {
        device.as_object_mut().unwrap().remove("this");
    }
    devices
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

const ADA_READS: &[&str] = &["ada audit", "ada sync", "phone audit", "phone sync"];
const ADA_ASKS: &[&str] = &["ada devices", "ada pin", "ada get", "phone get"];
/// The phone needs its own row alone.
const LAPTOP_ASKS: &[&str] = &["ada devices", "ada pin", "ada get"];

/// Bytes of a leaf in the store: the leaf and the index of its account's leaf before.
const LINKED_LEAF: usize = 224 + 8;

/// Alters a blob.
#[track_caller]
fn patch(tables: &Tables, row: &StoredRow, column: &str, alter: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = row.bytes(column);
    let before = bytes.clone();
    alter(&mut bytes);
    assert_ne!(bytes, before);
    tables.put(&row.with(column, &Cell::Blob(bytes)));
}

fn flip(at: usize) -> impl FnOnce(&mut Vec<u8>) {
    move |bytes| bytes[at] ^= 1
}

fn flip_middle(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
}

#[test]
fn store_that_nobody_touched_alarms_nobody() {
    let mut scene = Scene::new();
    match scene.after(|_| {}) {
        Outcome::Ran { failed, alarms: 0 } if failed.is_empty() => {}
        other => panic!("{other:?}"),
    }
    // The ledger's files are made again from the store.
    match scene.after(|data| fs::remove_dir_all(data.join("ledger")).unwrap()) {
        Outcome::Ran { failed, alarms: 0 } if failed.is_empty() => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn edited_log_is_refused() {
    let mut scene = Scene::new();
    let number = |tables: &Tables, person: usize| tables.accounts()[person].number("tail");
    // The batch with the newest entry of an account, and the entry's place in it.
    let newest = |tables: &Tables, person: usize| {
        let tail = number(tables, person);
        let mut batches = tables.rows("batches").into_iter();
        let batch = batches.rfind(|batch| batch.number("place") <= tail).unwrap();
        let at = usize::try_from(tail - batch.number("place")).unwrap() * LINKED_LEAF;
        (batch, at)
    };
    for (what, offset) in
        [("version", 0), ("time", 17), ("tag", 20), ("salt", 60), ("commitment", 70), ("event", 150)]
    {
        scene.refused(&format!("a bit of a leaf: {what}"), &["ada audit", "phone audit"], |data| {
            let tables = Tables::open(data);
            let (batch, at) = newest(&tables, 0);
            patch(&tables, &batch, "leaves", flip(at + offset));
        });
    }
    scene.refused("a link between two entries", &["ada audit", "phone audit"], |data| {
        let tables = Tables::open(data);
        let (batch, at) = newest(&tables, 0);
        patch(&tables, &batch, "leaves", flip(at + LINKED_LEAF - 1));
    });
    scene.refused("a link that ends the history early", &["ada audit", "phone audit"], |data| {
        let tables = Tables::open(data);
        let (batch, at) = newest(&tables, 0);
        patch(&tables, &batch, "leaves", |leaves| leaves[at + 224..at + LINKED_LEAF].fill(0xff));
    });
    scene.refused("a link that goes in a circle", &["ada audit", "phone audit"], |data| {
        let tables = Tables::open(data);
        let (batch, at) = newest(&tables, 0);
        let tail = u64::try_from(number(&tables, 0)).unwrap().to_be_bytes();
        patch(&tables, &batch, "leaves", |leaves| leaves[at + 224..at + LINKED_LEAF].copy_from_slice(&tail));
    });
    scene.refused("the newest entry forgotten", &["ada audit", "phone audit"], |data| {
        Tables::open(data).edit("UPDATE rows SET tail = tail - 2 WHERE place = 1 << 16");
    });
    scene.refused("somebody else's entries", &["ada audit", "phone audit"], |data| {
        let tables = Tables::open(data);
        let tail = number(&tables, 1);
        tables.edit(&format!("UPDATE rows SET tail = {tail} WHERE place = 1 << 16"));
    });
    scene.refused("no entries", &["ada audit", "phone audit"], |data| {
        Tables::open(data).edit("UPDATE rows SET tail = NULL WHERE place = 1 << 16");
    });
    scene.refused("a batch deleted in the middle", ADA_READS, |data| {
        let tables = Tables::open(data);
        let batches = tables.rows("batches");
        let place = batches[batches.len() / 2].number("place");
        tables.edit(&format!("DELETE FROM batches WHERE place = {place}"));
    });
    scene.refused("the last batch deleted", ADA_READS, |data| {
        Tables::open(data).edit("DELETE FROM batches WHERE place = (SELECT max(place) FROM batches)");
    });
    scene.refused("all batches deleted", ADA_READS, |data| {
        Tables::open(data).edit("DELETE FROM batches");
    });
    scene.refused("two batches exchanged", ADA_READS, |data| {
        let tables = Tables::open(data);
        let batches = tables.rows("batches");
        let [.., one, other, _, _] = &batches[..] else { panic!("too few batches") };
        for (to, from) in [(one, other), (other, one)] {
            tables.put(&to.with("leaves", from.cell("leaves")).with("count", from.cell("count")));
        }
    });
    scene.refused("another root in the checkpoint", ADA_READS, |data| {
        let tables = Tables::open(data);
        let batches = tables.rows("batches");
        let [.., before, last] = &batches[..] else { panic!("too few batches") };
        tables.put(&last.with("checkpoint", before.cell("checkpoint")));
    });
    scene.refused("a signature of nobody's", ADA_READS, |data| {
        Tables::open(data).edit(
            // One character of the signature, which ends the note.
            "UPDATE batches SET checkpoint = substr(checkpoint, 1, length(checkpoint) - 20) \
             || CASE substr(checkpoint, length(checkpoint) - 19, 1) WHEN 'A' THEN 'B' ELSE 'A' END \
             || substr(checkpoint, length(checkpoint) - 18) WHERE place = (SELECT max(place) FROM batches)",
        );
    });
    scene.refused("another seal", ADA_READS, |data| {
        let tables = Tables::open(data);
        let last = tables.rows("batches").pop().unwrap();
        let seal = last.bytes("leaves").len() - LINKED_LEAF;
        patch(&tables, &last, "leaves", flip(seal + 30));
    });
}

#[test]
fn exchanged_and_older_account_rows_are_refused() {
    const STATE: [&str; 5] = ["row", "seq", "head", "vault_seq", "vault_root"];
    let mut scene = Scene::new();
    let earlier = Tables::open(&scene.earlier).accounts();
    let swapped = |columns: &'static [&'static str]| {
        move |data: &Path| {
            let tables = Tables::open(data);
            let rows = tables.accounts();
            let mut swapped = [rows[0].clone(), rows[1].clone()];
            for column in columns {
                swapped[0] = swapped[0].with(column, rows[1].cell(column));
                swapped[1] = swapped[1].with(column, rows[0].cell(column));
            }
            // Ids are unique: out of the way first.
            tables.edit("DELETE FROM rows WHERE account IS NOT NULL");
            swapped.iter().for_each(|row| tables.put(row));
        }
    };
    scene.alarmed("two rows exchanged", ADA_ASKS, swapped(&["row"]));
    scene.alarmed("two states exchanged", ADA_ASKS, swapped(&STATE));
    scene.alarmed("two accounts exchanged", ADA_ASKS, swapped(&["account"]));
    scene.alarmed("two accounts exchanged with their places", ADA_ASKS, swapped(&["account", "map_key"]));
    scene.alarmed("two heads exchanged", ADA_ASKS, swapped(&["head"]));
    let old = earlier[0].clone();
    scene.alarmed("an older account", ADA_ASKS, |data| Tables::open(data).put(&old));
    scene.alarmed("an older account's row alone", ADA_ASKS, |data| {
        let tables = Tables::open(data);
        tables.put(&tables.accounts()[0].with("row", old.cell("row")));
    });
    scene.alarmed("an older account in newer clothes", ADA_ASKS, |data| {
        let tables = Tables::open(data);
        let mut row = tables.accounts()[0].clone();
        for column in ["row", "head", "vault_seq", "vault_root"] {
            row = row.with(column, old.cell(column));
        }
        tables.put(&row);
    });
    scene.alarmed("an account deleted", ADA_ASKS, |data| {
        Tables::open(data).edit("DELETE FROM rows WHERE place = 1 << 16");
    });
    scene.alarmed("a sequence number raised", ADA_ASKS, |data| {
        Tables::open(data).edit("UPDATE rows SET seq = seq + 1 WHERE place = 1 << 16");
    });
    scene.alarmed("a bit of the sealed record", ADA_ASKS, |data| {
        let tables = Tables::open(data);
        patch(&tables, &tables.accounts()[0], "row", |bytes| flip_middle(bytes));
    });
    scene.alarmed("an account twice", ADA_ASKS, |data| {
        let tables = Tables::open(data);
        let rows = tables.accounts();
        let twin = old.with("place", &Cell::Integer(place(77))).with("account", &Cell::Blob(vec![7; 32]));
        assert_eq!(rows.len(), 2);
        tables.put(&twin);
    });
}

#[test]
fn exchanged_and_older_device_rows_are_refused() {
    let mut scene = Scene::new();
    let device = |number: i64| move |row: &StoredRow| row.account_number() == number;
    let earlier: Vec<_> = Tables::open(&scene.earlier).devices().into_iter().filter(device(1)).collect();
    let [old] = &earlier[..] else { panic!("one device then") };
    // The laptop's own row, among the two that the account has now.
    let laptop = |tables: &Tables| {
        tables.devices().into_iter().find(|row| row.bytes("device") == old.bytes("device")).unwrap()
    };
    scene.alarmed("an older device", LAPTOP_ASKS, |data| {
        let tables = Tables::open(data);
        assert_ne!(laptop(&tables).bytes("row"), old.bytes("row"), "it had changed");
        tables.put(old);
    });
    scene.alarmed("a device deleted", LAPTOP_ASKS, |data| {
        let tables = Tables::open(data);
        let id: String = old.bytes("device").iter().map(|byte| format!("{byte:02x}")).collect();
        tables.edit(&format!("DELETE FROM rows WHERE device = x'{id}'"));
    });
    scene.alarmed("a bit of a device", LAPTOP_ASKS, |data| {
        let tables = Tables::open(data);
        patch(&tables, &laptop(&tables), "row", |bytes| flip_middle(bytes));
    });
    scene.alarmed("another account's device", LAPTOP_ASKS, |data| {
        let tables = Tables::open(data);
        let other = tables.devices().into_iter().find(device(2)).unwrap();
        tables.put(&laptop(&tables).with("row", other.cell("row")));
    });
    scene.alarmed("the phone's row for the laptop's", LAPTOP_ASKS, |data| {
        let tables = Tables::open(data);
        let phone = tables.devices().into_iter().filter(device(1));
        let phone = phone.into_iter().find(|row| row.bytes("device") != old.bytes("device")).unwrap();
        tables.put(&laptop(&tables).with("row", phone.cell("row")));
    });
    // The host can lock a reader out, but not let one in to what it cannot open.
    scene.refused("another access token", &["ada sync"], |data| {
        let tables = Tables::open(data);
        patch(&tables, &laptop(&tables), "access", flip(0));
    });
    // A device moved to another account is a stranger there.
    scene.refused("a device in another account", &[], |data| {
        let tables = Tables::open(data);
        let laptop = laptop(&tables);
        tables.edit(&format!("DELETE FROM rows WHERE place = {}", laptop.number("place")));
        tables.put(&laptop.with("place", &Cell::Integer(place(2) + 9)));
    });
}

#[test]
fn exchanged_and_older_passkey_rows_are_refused() {
    let mut scene = Scene::new();
    let (ada, eve) = (scene.id(0), scene.id(1));
    let find = |tables: &Tables, id: &[u8]| {
        tables.rows("passkeys").into_iter().find(|row| row.bytes("id") == id).unwrap()
    };
    let another = |tables: &Tables| {
        let rows = tables.rows("passkeys").into_iter();
        rows.filter(|row| row.number("number") == 1 && row.number("deleted") == 0)
            .find(|row| row.bytes("id") != ada)
            .unwrap()
    };
    let old = scene.earlier_row("passkeys", "id", &ada);
    let get = &["ada get", "phone get", "phone sync", "phone list"][..];
    scene.alarmed("an older passkey", get, |data| Tables::open(data).put(&old));
    scene.alarmed("an older version under the newer number", get, |data| {
        let tables = Tables::open(data);
        tables.put(&find(&tables, &ada).with("metadata", old.cell("metadata")));
    });
    scene.alarmed("a passkey deleted from the table", get, |data| {
        let tables = Tables::open(data);
        let id: String = ada.iter().map(|byte| format!("{byte:02x}")).collect();
        tables.edit(&format!("DELETE FROM passkeys WHERE id = x'{id}'"));
    });
    scene.alarmed("a passkey marked as deleted", get, |data| {
        let tables = Tables::open(data);
        tables.put(&find(&tables, &ada).with("deleted", &Cell::Integer(1)));
    });
    for (column, cell) in
        [("version", Cell::Integer(9)), ("vault_seq", Cell::Integer(99)), ("epoch", Cell::Integer(2))]
    {
        // The sequence number is the gateway's own order; the vault's root does not need it.
        let commands = if column == "vault_seq" { &[][..] } else { get };
        scene.refused(&format!("another {column}"), commands, |data| {
            let tables = Tables::open(data);
            tables.put(&find(&tables, &ada).with(column, &cell));
        });
    }
    for column in ["blob", "metadata"] {
        scene.alarmed(&format!("a bit of the {column}"), get, |data| {
            let tables = Tables::open(data);
            patch(&tables, &find(&tables, &ada), column, |bytes| flip_middle(bytes));
        });
        scene.alarmed(&format!("the {column} of another passkey"), get, |data| {
            let tables = Tables::open(data);
            tables.put(&find(&tables, &ada).with(column, another(&tables).cell(column)));
        });
    }
    scene.alarmed("one passkey under the other's id", get, |data| {
        let tables = Tables::open(data);
        let (one, other) = (find(&tables, &ada), another(&tables));
        tables.put(&one.with("id", other.cell("id")));
        tables.put(&other.with("id", one.cell("id")));
    });
    scene.alarmed("a passkey put into another account", &["eve get"], |data| {
        let tables = Tables::open(data);
        tables.put(&find(&tables, &ada).with("number", &Cell::Integer(2)));
    });
    scene.alarmed("a passkey of another account's", get, |data| {
        let tables = Tables::open(data);
        tables
            .put(&find(&tables, &eve).with("number", &Cell::Integer(1)).with("id", &Cell::Blob(ada.clone())));
    });
    let gone = Tables::open(&scene.base).rows("passkeys").into_iter().find(|row| row.number("deleted") == 1);
    let gone = scene.earlier_row("passkeys", "id", &gone.unwrap().bytes("id"));
    scene.alarmed("a deleted passkey put back", get, |data| Tables::open(data).put(&gone));
}

#[test]
fn rolled_back_folders_are_refused_by_the_service_or_by_whoever_has_seen_more() {
    let mut scene = Scene::new();
    let earlier = scene.earlier.clone();
    let restore = |folders: &'static [&'static str]| {
        let earlier = earlier.clone();
        move |data: &Path| {
            for folder in folders {
                copy_folder(&earlier.join(folder), &data.join(folder));
            }
        }
    };
    let all = ["ada audit", "ada sync", "ada get", "eve audit", "eve sync", "eve get"];
    // Yesterday's store under today's ledger does not start at all.
    match scene.after(restore(&["store"])) {
        Outcome::NotStarted(sentence) => assert!(sentence.contains("ledger"), "{sentence}"),
        other => panic!("{other:?}"),
    }
    // Both of yesterday: with nobody to witness (anchor level 0) it starts, and every device that saw more objects.
    scene.refused("store and ledger of yesterday", &all, restore(&["store", "ledger"]));
    scene.refused("everything of yesterday", &all, restore(&["store", "ledger", "token", "run"]));
    let outcome = scene.after(restore(&["ledger"]));
    println!("the ledger's files of yesterday: {outcome:?}");
    assert!(matches!(&outcome, Outcome::Ran { failed, alarms: 0 } if failed.is_empty()), "{outcome:?}");
    // Another root key opens nothing, and none is made up.
    match scene.after(|data| fs::remove_dir_all(data.join("token")).unwrap()) {
        Outcome::NotStarted(sentence) => assert!(sentence.contains("token"), "{sentence}"),
        other => panic!("{other:?}"),
    }
    match scene.after(|data| {
        for file in fs::read_dir(data.join("token")).unwrap().flatten() {
            let mut bytes = fs::read(file.path()).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(file.path(), bytes).unwrap();
        }
    }) {
        Outcome::NotStarted(_) => {}
        other => panic!("{other:?}"),
    }
    match scene.after(|data| {
        Tables::open(data).edit("UPDATE service SET row = substr(row, 1, length(row) - 1) || x'00'")
    }) {
        Outcome::NotStarted(_) => {}
        other => panic!("{other:?}"),
    }
    match scene.after(|data| {
        let db = data.join("store/keyferry.db");
        fs::write(&db, &fs::read(&db).unwrap()[..4096]).unwrap();
        let _ = fs::remove_file(data.join("store/keyferry.db-wal"));
    }) {
        Outcome::NotStarted(_) => {}
        other => panic!("{other:?}"),
    }
}

/// The operator need not stop the service to edit its store.
#[test]
fn rows_edited_under_a_running_service_buy_nothing() {
    let mut scene = Scene::new();
    copy_folder(&scene.base, &scene.world.data());
    scene.service.try_start_again().unwrap();
    let old = Tables::open(&scene.earlier).accounts().remove(0);
    let guess = scene.world.file("wrong", "wrong-and-long");
    let ada = Person::stranger(&scene.world, &scene.service, "ada");
    for left in [9, 8, 7] {
        // Each time the count is put back, in the row that has it; and the enclave is made to read it again.
        let tables = Tables::open(scene.service.data());
        tables.put(&old);
        drop(tables);
        if left < 9 {
            crate::harness::signal(scene.service.enclave_pid(), "KILL");
        }
        let said = ada.try_join("thief", &ada.device("thief"), &guess);
        if said.status == Some(3) {
            let refusal = said.refusal();
            assert_eq!((refusal.error.as_str(), refusal.left), ("pin_wrong", Some(left)), "{said}");
        } else {
            // The gateway reads the edited row and the enclave does not believe it: no service, and an alarm.
            said.fault();
            let alarms = scene.service.metric("keyferry_store_refused_total");
            let restarts = scene.service.metric("keyferry_enclave_restarts_total");
            assert!(alarms > 0 || restarts > 0, "{}", scene.service.metrics());
            break;
        }
    }
}
