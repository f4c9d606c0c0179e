use super::*;
use crate::testing::{AUD, ORIGIN, Seeded, evidence, sim, trusting_sim};
use keyferry_crypto::channel::ChannelKey;
use keyferry_wire::cbor::Bytes;
use serde_json::json;

fn channel() -> ChannelKey {
    ChannelKey::generate(&mut Seeded::new(1))
}

fn refused(evidence: &Evidence, trust: &Trust) -> Reason {
    appraise(evidence, trust, 0).unwrap_err()
}

/// Refusal of evidence whose runtime data were changed, but are bound.
fn refused_with(change: impl FnOnce(&mut Value)) -> Reason {
    refused(&evidence(&channel(), change), &trusting_sim())
}

fn at_log() -> Trust {
    let log = LogPin { origin: ORIGIN.to_owned(), key: String::new() };
    Trust { log: Some(log), ..trusting_sim() }
}

fn at_size(size: u64) -> Evidence {
    evidence(&channel(), |json| json["ledger"]["size"] = json!(size))
}

#[test]
fn bound_evidence_of_a_stand_in_that_is_trusted_by_name_is_accepted() {
    let evidence = evidence(&channel(), |_| ());
    let verified = appraise(&evidence, &trusting_sim(), 5).unwrap();
    assert_eq!(verified.channel_key(), &channel().public());
    assert_eq!(verified.hash(), &sha256(&[&evidence.to_bytes()]));
    assert_eq!((verified.kind(), verified.aud(), verified.instance()), ("sim", AUD, InstanceId([1; 8])));
    assert_eq!((verified.measurement(), verified.hpke_key()), (&[4; 32], &[9; 32]));
    assert!(verified.is_stand_in());
}

#[test]
fn a_stand_in_that_was_not_named_is_refused() {
    let reason = refused(&evidence(&channel(), |_| ()), &Trust::default());
    assert_eq!(reason, Reason::StandIn("sim".to_owned()));
    assert_eq!(Refusal::from(reason).code, Code::Evidence);
}

#[test]
fn an_unknown_kind_is_refused_by_name() {
    let evidence = Evidence { kind: "snp\n".to_owned(), ..evidence(&channel(), |_| ()) };
    assert_eq!(refused(&evidence, &trusting_sim()), Reason::Kind("snp".to_owned()));
}

#[test]
fn an_unknown_version_is_refused() {
    let evidence = Evidence { version: 2, ..evidence(&channel(), |_| ()) };
    assert_eq!(refused(&evidence, &trusting_sim()), Reason::Version(2));
}

#[test]
fn an_enclave_in_debug_mode_is_refused() {
    let data = evidence(&channel(), |_| ()).runtime_data.0;
    let evidence = sim(data, |report| report.debug = true);
    assert_eq!(refused(&evidence, &trusting_sim()), Reason::Debug);
}

#[test]
fn swapped_keys_are_refused() {
    let other = ChannelKey::generate(&mut Seeded::new(2));
    let swapped = evidence(&other, |_| ()).runtime_data;
    let evidence = Evidence { runtime_data: swapped, ..evidence(&channel(), |_| ()) };
    assert_eq!(refused(&evidence, &trusting_sim()), Reason::Binding);
}

#[test]
fn each_changed_byte_of_the_report_data_is_refused() {
    let data = evidence(&channel(), |_| ()).runtime_data.0;
    for index in 0..64 {
        let evidence = sim(data.clone(), |report| report.report_data[index] ^= 1);
        assert_eq!(refused(&evidence, &trusting_sim()), Reason::Binding, "byte {index}");
    }
}

#[test]
fn a_malformed_report_is_refused() {
    let evidence = Evidence { report: Bytes(vec![0xff]), ..evidence(&channel(), |_| ()) };
    assert_eq!(refused(&evidence, &trusting_sim()), Reason::Report);
}

#[test]
fn another_deployment_than_the_pinned_one_is_refused() {
    let trust = Trust { aud: Some("other.test".to_owned()), ..trusting_sim() };
    assert!(matches!(refused(&evidence(&channel(), |_| ()), &trust), Reason::Audience { .. }));
}

#[test]
fn a_measurement_that_the_trust_file_does_not_name_is_refused() {
    let named = Trust { measurements: vec![[4; 32]], ..trusting_sim() };
    assert!(appraise(&evidence(&channel(), |_| ()), &named, 0).is_ok());
    let other = Trust { measurements: vec![[5; 32]], ..trusting_sim() };
    assert_eq!(refused(&evidence(&channel(), |_| ()), &other), Reason::Measurement);
}

#[test]
fn missing_or_malformed_members_are_refused() {
    let cases: [(&str, Value); 8] = [
        ("v", json!(2)),
        ("nonce", json!("short")),
        ("aud", json!("")),
        ("instance", json!("AAAA")),
        ("keys", json!([])),
        ("anchor_level", json!(4)),
        ("custody_level", json!(-1)),
        ("ledger", json!({"origin": ORIGIN, "size": "3", "root": ""})),
    ];
    for (name, value) in cases {
        let changed = refused_with(|json| json[name] = value);
        assert!(matches!(changed, Reason::RuntimeData(_)), "{name}");
        let missing = refused_with(|json| drop(json.as_object_mut().unwrap().remove(name)));
        assert!(matches!(missing, Reason::RuntimeData(_)), "{name}");
    }
}

#[test]
fn evidence_before_the_first_checkpoint_is_accepted() {
    let evidence = evidence(&channel(), |json| json["ledger"] = Value::Null);
    assert!(appraise(&evidence, &trusting_sim(), 0).is_ok());
}

#[test]
fn keys_that_are_no_points_of_the_curve_are_refused() {
    for kid in [0, 1] {
        let reason = refused_with(|json| json["keys"][kid]["x"] = json["keys"][kid]["y"].clone());
        assert!(matches!(reason, Reason::RuntimeData(_)), "{kid}");
    }
}

#[test]
fn two_keys_of_one_name_are_refused() {
    let reason = refused_with(|json| {
        let twin = json["keys"][0].clone();
        json["keys"].as_array_mut().unwrap().push(twin);
    });
    assert!(matches!(reason, Reason::RuntimeData(_)));
}

#[test]
fn evidence_older_than_evidence_seen_before_is_refused() {
    let mut trust = at_log();
    trust.believe(&appraise(&at_size(9), &trust, 0).unwrap());
    assert!(appraise(&at_size(9), &trust, 0).is_ok());
    assert_eq!(refused(&at_size(8), &trust), Reason::Stale { found: 8, seen: 9 });
    assert_eq!(Refusal::from(refused(&at_size(8), &trust)).code, Code::Stale);
}

#[test]
fn evidence_may_lag_behind_a_head_for_two_hours_and_not_longer() {
    let mut trust = at_log();
    trust.seen = Some(Head { size: 20, root: [0; 32] });
    trust.believe(&appraise(&at_size(9), &trust, 0).unwrap());
    let hours = |count: u64| count * 3_600_000;
    assert!(appraise(&at_size(9), &trust, hours(2) - 1).is_ok());
    assert_eq!(appraise(&at_size(19), &trust, hours(2)).unwrap_err(), Reason::Stale { found: 19, seen: 20 });
    trust.believe(&appraise(&at_size(20), &trust, hours(2)).unwrap());
    assert_eq!(refused(&at_size(19), &trust), Reason::Stale { found: 19, seen: 20 });
}

#[test]
fn evidence_is_due_after_an_hour() {
    let verified = appraise(&evidence(&channel(), |_| ()), &trusting_sim(), 1000).unwrap();
    assert!(!verified.is_due(1000));
    assert!(verified.is_due(1000 + EVIDENCE_LIFE_MS));
    assert!(verified.is_due(999), "a clock that was set back");
}

#[test]
fn a_trust_file_pins_logs_and_refuses_what_it_does_not_know() {
    let key = crate::testing::Ledger::new().account(0).log_key;
    let file = json!({"aud": AUD, "logs": [{"origin": ORIGIN, "key": key}]});
    let trust = Trust::from_file(file.to_string().as_bytes()).unwrap();
    assert!(trust.is_pinned());
    for bad in [
        json!({"logs": []}),
        json!({"logs": [{"origin": "other/0", "key": key}]}),
        json!({"logs": [{"origin": ORIGIN, "key": key}], "log": 1}),
        json!({"logs": [{"origin": ORIGIN, "key": key}], "measurements": ["x"]}),
    ] {
        assert!(Trust::from_file(bad.to_string().as_bytes()).is_err(), "{bad}");
    }
}
