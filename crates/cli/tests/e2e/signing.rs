//! Passkeys at relying parties that others wrote: made on one device, used on another, with truthful flags.

use crate::harness::{
    BE, BS, Device, ED, Person, RelyingParty, UP, UV, World, assert_signed_by, base64url, creation,
    flags_and_counter, from_base64url, origin, public_key, random, request, request_for,
};
use serde_json::{Value, json};

/// Makes a passkey and has the relying party check it; what it stores, and the credential.
#[track_caller]
fn register(rp: &mut RelyingParty, device: &Device, verification: &str) -> (Value, Value) {
    let options = rp.creation(verification, &[]);
    let said = match device.device_pin {
        Some(_) => device.create_verified(&rp.origin, &options),
        None => device.create(&rp.origin, &options),
    };
    let credential = said.done();
    let verified = device.device_pin.is_some();
    let stored = rp.register(&options, &credential, verified);
    assert_eq!(stored["verified"], true, "{stored}\n{credential}");
    assert_eq!(stored["id"], credential["id"]);
    assert_as_synced_passkey(&stored, verified);
    (stored, credential)
}

/// Signs in and has the relying party check it; the assertion.
#[track_caller]
fn sign_in(rp: &mut RelyingParty, device: &Device, stored: &Value, allow: Option<&[&str]>) -> Value {
    let options = rp.request("preferred", allow);
    let verified = device.device_pin.is_some();
    let said =
        if verified { device.get_verified(&rp.origin, &options) } else { device.get(&rp.origin, &options) };
    let assertion = said.done();
    let checked = rp.authenticate(&options, &assertion, stored, verified);
    assert_eq!(checked["verified"], true, "{checked}\n{assertion}");
    assert_as_synced_passkey(&checked, verified);
    assertion
}

/// UV as it was, counter 0, backup eligible and backed up.
#[track_caller]
fn assert_as_synced_passkey(checked: &Value, verified: bool) {
    assert_eq!(checked["user_verified"], verified, "{checked}");
    assert_eq!(checked["counter"], 0, "{checked}");
    assert_eq!(checked["device_type"], "multiDevice", "{checked}");
    assert_eq!(checked["backed_up"], true, "{checked}");
}

#[test]
fn passkeys_made_on_a_laptop_sign_in_on_a_phone_at_relying_parties_of_others() {
    let Some(mut parties) = RelyingParty::both() else { return };
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol_verifying("laptop");
    let stored = parties.each_mut().map(|rp| register(rp, &laptop, "required").0);
    let phone = ada.join("phone");
    for (rp, stored) in parties.iter_mut().zip(&stored) {
        let id = stored["id"].as_str().unwrap();
        // With a list and without: every passkey is discoverable.
        sign_in(rp, &phone, stored, Some(&[id]));
        let assertion = sign_in(rp, &phone, stored, None);
        assert_eq!(assertion["response"]["userHandle"], "dXNlci0x");
        sign_in(rp, &laptop, stored, None);
    }
    // And one that was made on the phone, on the laptop, which joined nothing since.
    let [rp, _] = &mut parties;
    let (stored, _) = register(rp, &phone, "preferred");
    sign_in(rp, &laptop, &stored, Some(&[stored["id"].as_str().unwrap()]));
}

/// The relying parties do look: what they accepted above is not accepted for another challenge, origin, key or level.
#[test]
fn relying_parties_of_others_refuse_answers_to_other_questions() {
    let Some(mut parties) = RelyingParty::both() else { return };
    let world = World::new();
    let service = world.service();
    let laptop = Person::new(&world, &service, "ada").enrol("laptop");
    for rp in &mut parties {
        let (stored, _) = register(rp, &laptop, "discouraged");
        let (options, others) = (rp.request("preferred", None), rp.request("preferred", None));
        let assertion = laptop.get(&rp.origin, &options).done();
        let refused = |answer: Value| {
            assert!(answer["error"].is_string() || answer["verified"] == false, "accepted: {answer}");
        };
        refused(rp.authenticate(&others, &assertion, &stored, false));
        refused(rp.authenticate(&options, &assertion, &stored, true));
        let (other, _) = register(rp, &laptop, "discouraged");
        let mut mixed = stored.clone();
        mixed["public_key"] = other["public_key"].clone();
        refused(rp.authenticate(&options, &assertion, &mixed, false));
        let mut altered = assertion.clone();
        let mut data = from_base64url(&assertion["response"]["authenticatorData"]);
        data[32] |= UV;
        altered["response"]["authenticatorData"] = json!(base64url(&data));
        refused(rp.authenticate(&options, &altered, &stored, false));
        assert_eq!(rp.authenticate(&options, &assertion, &stored, false)["verified"], true);
    }
}

#[test]
fn user_verification_is_told_as_it_was() {
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol_verifying("laptop");
    let (site, rp_id) = (origin("example.org"), "example.org");
    let always = UP | BE | BS;
    let flags = |said: Value| flags_and_counter(&said).0 & (UP | UV | BE | BS);

    let created = laptop.create_verified(&site, &creation(rp_id, "ada")).done();
    assert_eq!(flags(created.clone()), always | UV);
    assert_eq!(flags(laptop.create(&site, &creation(rp_id, "ada")).done()), always);
    assert_eq!(flags(laptop.get_verified(&site, &request(rp_id)).done()), always | UV);
    let (flags_now, counter) = flags_and_counter(&laptop.get(&site, &request(rp_id)).done());
    assert_eq!((flags_now & (UP | UV | BE | BS), counter), (always, 0));

    // Whoever requires it gets it or nothing.
    let mut demanding = request(rp_id);
    demanding["userVerification"] = json!("required");
    let refusal = laptop.get(&site, &demanding).refused("uv_required");
    assert_eq!(refusal.name.as_deref(), Some("NotAllowedError"));
    assert_eq!(flags(laptop.get_verified(&site, &demanding).done()), always | UV);
    let mut demanding = creation(rp_id, "ada");
    demanding["authenticatorSelection"] = json!({"userVerification": "required"});
    laptop.create(&site, &demanding).refused("uv_required");

    // A wrong device PIN is not half a verification.
    let wrong = Device { device_pin: Some(world.file("wrong", "8206")), ..laptop.clone() };
    wrong.get_verified(&site, &request(rp_id)).refused("uv_required");
    // Neither is the account's PIN.
    let account_pin = Device { device_pin: Some(ada.pin.clone()), ..laptop.clone() };
    account_pin.get_verified(&site, &request(rp_id)).refused("uv_required");
    // A device without a PIN of its own has no key for it.
    let phone = ada.join("phone");
    let phone = Device { device_pin: Some(ada.device_pin.clone()), ..phone };
    phone.get_verified(&site, &request(rp_id)).refused("uv_required");

    // The ledger tells it too.
    let uv: Vec<_> =
        laptop.audit().iter().filter(|e| e["kind"] == "assert").map(|e| e["uv"].clone()).collect();
    assert_eq!(uv, [true, false, true]);
}

#[test]
fn excluded_credential_is_refused_on_every_device() {
    let Some(mut parties) = RelyingParty::both() else { return };
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol("laptop");
    let phone = ada.join("phone");
    for rp in &mut parties {
        let (stored, _) = register(rp, &laptop, "preferred");
        let id = stored["id"].as_str().unwrap();
        let foreign = base64url(&random::<16>());
        let options = rp.creation("preferred", &[&foreign, id]);
        // The phone has not synced since; what it does not know must not matter.
        for device in [&phone, &laptop] {
            let refusal = device.create(&rp.origin, &options).refused("excluded");
            assert_eq!(refusal.name.as_deref(), Some("InvalidStateError"));
        }
        let options = rp.creation("preferred", &[&foreign]);
        phone.create(&rp.origin, &options).done();
    }
    // An id of another relying party excludes nothing.
    let [first, second] = &mut parties;
    let ids = laptop.passkey_ids();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let options = first.creation("preferred", &ids);
    laptop.create(&first.origin, &options).refused("excluded");
    let (stored, _) = register(second, &laptop, "preferred");
    let options = first.creation("preferred", &[stored["id"].as_str().unwrap()]);
    laptop.create(&first.origin, &options).done();
}

#[test]
fn no_passkey_signs_where_none_fits() {
    let world = World::new();
    let service = world.service();
    let laptop = Person::new(&world, &service, "ada").enrol("laptop");
    let none = |rp_id: &str, options: &Value| {
        let refusal = laptop.get(&origin(rp_id), options).refused("no_credentials");
        assert_eq!(refusal.name.as_deref(), Some("NotAllowedError"));
    };
    none("example.org", &request("example.org"));
    let created = laptop.create(&origin("example.org"), &creation("example.org", "ada")).done();
    let id = created["id"].as_str().unwrap();
    // Ids of others: as long as ours, and longer.
    let (short, long) = (base64url(&random::<16>()), base64url(&random::<64>()));
    none("example.org", &request_for("example.org", &[&short, &long]));
    // Ours, asked for by another relying party: a sibling, a parent, a child.
    none("example.com", &request_for("example.com", &[id]));
    none("login.example.org", &request_for("login.example.org", &[id]));
    none("login.example.org", &request("login.example.org"));
    // Among foreign ones ours is found; a subdomain may use its parent's.
    let options = request_for("example.org", &[&short, id, &long]);
    assert_signed_by(&created, &laptop.get(&origin("example.org"), &options).done(), &options);
    let options = request("example.org");
    assert_signed_by(&created, &laptop.get("https://login.example.org", &options).done(), &options);
    // A deleted one never.
    laptop.run(&["passkey", "delete", "--id", id]).done();
    none("example.org", &request("example.org"));
    none("example.org", &request_for("example.org", &[id]));
}

#[test]
fn client_data_may_stay_at_home_as_on_platforms_that_hand_on_its_hash_alone() {
    let Some(mut parties) = RelyingParty::both() else { return };
    let world = World::new();
    let service = world.service();
    let laptop = Person::new(&world, &service, "ada").enrol("laptop");
    for rp in &mut parties {
        let options = rp.creation("preferred", &[]);
        let words = ["passkey", "create", "--hash-only", "--origin", &rp.origin.clone()];
        let credential = laptop.run_with(&words, options.to_string().as_bytes()).done();
        let stored = rp.register(&options, &credential, false);
        assert_eq!(stored["verified"], true, "{stored}");
        let options = rp.request("preferred", None);
        let words = ["passkey", "get", "--hash-only", "--origin", &rp.origin.clone()];
        let assertion = laptop.run_with(&words, options.to_string().as_bytes()).done();
        let checked = rp.authenticate(&options, &assertion, &stored, false);
        assert_eq!(checked["verified"], true, "{checked}");
    }
}

#[test]
fn credential_has_the_shape_of_the_standard() {
    let world = World::new();
    let service = world.service();
    let laptop = Person::new(&world, &service, "ada").enrol("laptop");
    let mut options = creation("example.org", "ada");
    options["extensions"] = json!({"credProps": true});
    options["pubKeyCredParams"] = json!([
        {"type": "public-key", "alg": -8},
        {"type": "public-key", "alg": -7},
        {"type": "public-key", "alg": -257},
    ]);
    // Options may come wrapped as in `navigator.credentials.create()`, from a file as well.
    let file = world.file("options.json", json!({"publicKey": options}).to_string());
    let site = origin("example.org");
    let words = ["passkey", "create", "--origin", &site, "--options", file.to_str().unwrap()];
    let created = laptop.run(&words).done();
    assert_eq!(created["type"], "public-key");
    assert_eq!(created["id"], created["rawId"]);
    assert_eq!(created["authenticatorAttachment"], "platform");
    assert_eq!(created["clientExtensionResults"]["credProps"]["rk"], true);
    assert_eq!(created["response"]["publicKeyAlgorithm"], -8, "the first that is known");
    assert_eq!(created["response"]["transports"], json!(["hybrid", "internal"]));
    let client_data: Value =
        serde_json::from_slice(&from_base64url(&created["response"]["clientDataJSON"])).unwrap();
    assert_eq!(client_data["type"], "webauthn.create");
    assert_eq!(client_data["challenge"], options["challenge"]);
    assert_eq!(client_data["origin"], json!(site));
    assert_eq!(client_data["crossOrigin"], false);

    let options = request("example.org");
    let assertion = laptop.get(&site, &json!({"publicKey": options})).done();
    assert_signed_by(&created, &assertion, &options);
    assert_eq!(assertion["response"]["userHandle"], json!(base64url(b"ada")));
    assert!(created.get("unpinned").is_none() || created["unpinned"].is_boolean());

    let plain = laptop.create(&site, &creation("example.org", "bob")).done();
    assert!(plain["clientExtensionResults"].get("credProps").is_none(), "{plain}");
}

#[test]
fn each_algorithm_registers_and_signs_in_at_relying_parties_of_others() {
    let Some(mut parties) = RelyingParty::both() else { return };
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let (laptop, phone) = (ada.enrol("laptop"), ada.join("phone"));
    // py_webauthn 3.0.1 does not know ES384.
    let lists: [&[&[i64]]; 2] =
        [&[&[-7], &[-8, -7], &[-35, -257], &[-257, -7]], &[&[-7], &[-8, -7], &[-257, -7]]];
    for (rp, lists) in parties.iter_mut().zip(lists) {
        for list in lists {
            let options = rp.creation_of(list);
            let credential = laptop.create(&rp.origin, &options).done();
            assert_eq!(credential["response"]["publicKeyAlgorithm"], list[0]);
            public_key(&credential);
            let stored = rp.register(&options, &credential, false);
            assert_eq!(stored["verified"], true, "{list:?}: {stored}");
            let id = stored["id"].as_str().unwrap();
            for device in [&laptop, &phone] {
                sign_in(rp, device, &stored, Some(&[id]));
            }
        }
        let options = rp.creation_of(&[-36]);
        let refusal = laptop.create(&rp.origin, &options).refused("bad_options");
        assert_eq!(refusal.name.as_deref(), Some("NotSupportedError"));
    }
    let mut algorithms: Vec<_> = laptop.run(&["passkey", "list"]).done()["passkeys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["alg"].as_i64())
        .collect();
    algorithms.sort_unstable();
    assert_eq!(algorithms, [-257, -257, -35, -8, -8, -7, -7].map(Some));
}

/// Options of the relying party with extensions.
fn extended(mut options: Value, extensions: Value) -> Value {
    options["extensions"] = extensions;
    options
}

#[test]
fn the_prf_appears_as_in_a_browser_and_is_the_same_on_every_device() {
    let Some([mut rp, _]) = RelyingParty::both() else { return };
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let (laptop, phone) = (ada.enrol_verifying("laptop"), ada.join("phone"));
    let ask = json!({"prf": {"eval": {"first": "AQIDBA", "second": "BQYHCA"}}});
    let options = extended(rp.creation("preferred", &[]), ask.clone());
    let credential = laptop.create(&rp.origin, &options).done();
    let stored = rp.register(&options, &credential, false);
    assert_eq!(stored["verified"], true, "{stored}");
    let id = stored["id"].as_str().unwrap();
    let made = &credential["clientExtensionResults"]["prf"];
    assert_eq!(made["enabled"], true);
    let results = made["results"].clone();
    assert_eq!(from_base64url(&results["first"]).len(), 32);
    assert_ne!(results["first"], results["second"]);

    let mut get = |device: &Device, verified: bool, allow: Option<&[&str]>, ask: &Value| {
        let options = extended(rp.request("preferred", allow), ask.clone());
        let said = match verified {
            true => device.get_verified(&rp.origin, &options),
            false => device.get(&rp.origin, &options),
        };
        let assertion = said.done();
        assert_eq!(rp.authenticate(&options, &assertion, &stored, verified)["verified"], true);
        assertion["clientExtensionResults"]["prf"].clone()
    };
    // Never `enabled` at a sign-in; the same on both devices; another function with user verification.
    assert_eq!(get(&phone, false, None, &ask), json!({"results": results}));
    assert_eq!(get(&laptop, false, None, &ask), json!({"results": results}));
    let verified = get(&laptop, true, None, &ask);
    assert_ne!(verified["results"]["first"], results["first"]);
    assert_eq!(get(&laptop, true, None, &ask), verified);
    assert_eq!(get(&phone, false, None, &json!({"prf": {}})), json!({}));
    assert_eq!(get(&phone, false, None, &json!({})), Value::Null);
    // The inputs for this credential come before those for all.
    let by = json!({"prf": {"eval": {"first": "BQYHCA"}, "evalByCredential": {id: {"first": "AQIDBA"}}}});
    assert_eq!(get(&phone, false, Some(&[id]), &by), json!({"results": {"first": results["first"]}}));
    let equal = json!({"prf": {"evalByCredential": {id: {"first": "CQoLDA", "second": "CQoLDA"}}}});
    let equal = get(&phone, false, Some(&[id]), &equal);
    assert_eq!(equal["results"]["first"], equal["results"]["second"]);

    let bad = extended(rp.request("preferred", None), by);
    let refusal = laptop.get(&rp.origin, &bad).refused("bad_options");
    assert_eq!(refusal.name.as_deref(), Some("NotSupportedError"));
    let unlisted = json!({"prf": {"evalByCredential": {"AAAA": {"first": "AQ"}}}});
    let bad = extended(rp.request("preferred", Some(&[id])), unlisted);
    let refusal = laptop.get(&rp.origin, &bad).refused("bad_options");
    assert_eq!(refusal.name.as_deref(), Some("SyntaxError"));
}

#[test]
fn cred_protect_is_shown_to_the_relying_party_and_held_against_it() {
    let Some([mut rp, _]) = RelyingParty::both() else { return };
    let world = World::new();
    let service = world.service();
    let laptop = Person::new(&world, &service, "ada").enrol_verifying("laptop");
    let levels = [
        ("userVerificationOptional", 1),
        ("userVerificationOptionalWithCredentialIDList", 2),
        ("userVerificationRequired", 3),
    ];
    for (policy, level) in levels {
        let ask = json!({"credentialProtectionPolicy": policy, "enforceCredentialProtectionPolicy": true});
        let options = extended(rp.creation("preferred", &[]), ask);
        let credential = laptop.create_verified(&rp.origin, &options).done();
        let stored = rp.register(&options, &credential, true);
        assert_eq!(stored["verified"], true, "{stored}");
        let data = from_base64url(&credential["response"]["authenticatorData"]);
        assert_eq!(data[32] & ED, ED);
        assert!(data.ends_with(&[b"credProtect".as_slice(), &[level]].concat()));
        let id = stored["id"].as_str().unwrap();
        let (listed, unlisted) = (rp.request("discouraged", Some(&[id])), rp.request("discouraged", None));
        for (options, least) in [(&listed, 3), (&unlisted, 2)] {
            let said = laptop.get(&rp.origin, options);
            if level < least {
                assert_eq!(rp.authenticate(options, &said.done(), &stored, false)["verified"], true);
            } else {
                let refusal = said.refused("uv_required");
                assert_eq!(refusal.name.as_deref(), Some("NotAllowedError"));
            }
            let assertion = laptop.get_verified(&rp.origin, options).done();
            assert_eq!(rp.authenticate(options, &assertion, &stored, true)["verified"], true);
        }
        let id = id.to_owned();
        laptop.run(&["passkey", "delete", "--id", &id]).done();
    }
}

#[test]
fn a_large_blob_is_written_by_one_device_and_read_by_another() {
    let Some([mut rp, _]) = RelyingParty::both() else { return };
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let (laptop, phone) = (ada.enrol("laptop"), ada.join("phone"));
    let options = extended(rp.creation("preferred", &[]), json!({"largeBlob": {"support": "required"}}));
    let credential = laptop.create(&rp.origin, &options).done();
    assert_eq!(credential["clientExtensionResults"]["largeBlob"], json!({"supported": true}));
    let stored = rp.register(&options, &credential, false);
    let id = stored["id"].as_str().unwrap();
    let mut get = |device: &Device, ask: Value| {
        let options = extended(rp.request("preferred", Some(&[id])), json!({"largeBlob": ask}));
        let assertion = device.get(&rp.origin, &options).done();
        assert_eq!(rp.authenticate(&options, &assertion, &stored, false)["verified"], true);
        assertion["clientExtensionResults"]["largeBlob"].clone()
    };
    assert_eq!(get(&phone, json!({"read": true})), json!({}));
    let blob = base64url(&random::<8192>());
    assert_eq!(get(&laptop, json!({"write": blob})), json!({"written": true}));
    assert_eq!(get(&phone, json!({"read": true})), json!({"blob": blob}));
    // The phone has not synced what the laptop wrote, nor the laptop what the phone writes now.
    assert_eq!(get(&phone, json!({"write": "AQID"})), json!({"written": true}));
    assert_eq!(get(&laptop, json!({"write": "BAUG"})), json!({"written": true}));
    assert_eq!(get(&phone, json!({"read": true})), json!({"blob": "BAUG"}));

    let options = rp.request("preferred", Some(&[id]));
    for bad in [json!({"write": base64url(&random::<8193>())}), json!({"read": true, "write": "AQ"})] {
        let options = extended(options.clone(), json!({"largeBlob": bad}));
        let refusal = laptop.get(&rp.origin, &options).refused("bad_options");
        assert_eq!(refusal.name.as_deref(), Some("NotSupportedError"));
    }
    let kinds: Vec<_> = laptop.audit().iter().map(|entry| entry["kind"].clone()).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "write-large-blob").count(), 3);
}
