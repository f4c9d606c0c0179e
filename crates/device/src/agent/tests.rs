use super::*;
use keyferry_client::home::{Kept, Pending, PendingFlow};

const SERVER: &str = "https://ferry.example";

fn options() -> Options {
    Options { costs: Costs::insecure_fast_for_tests(), ..Options::default() }
}

fn new(device_pin: Option<&'static str>) -> NewHome<'static> {
    NewHome { server: SERVER, name: "ada", device_pin }
}

fn create(path: &Path, new: &NewHome<'_>) -> Result<DeviceId, FlowError> {
    Ok(Agent::create(path, new, options())?.home.device_id())
}

/// Marks the home as one that an account may know.
fn begin(path: &Path) {
    let mut agent = Agent::open(path, options()).unwrap();
    agent.home.pending = Some(Pending { flow: PendingFlow::Join, seed: Kept::new([1; 32]), committed: true });
    agent.save().unwrap();
}

#[test]
fn a_home_that_a_failed_join_left_behind_is_used_again() {
    let temp = tempfile::tempdir().unwrap();
    let first = create(temp.path(), &new(Some("2580"))).unwrap();
    assert_eq!(create(temp.path(), &new(Some("2580"))).unwrap(), first);
}

#[test]
fn a_home_that_nobody_knows_is_made_anew_for_another_choice() {
    let temp = tempfile::tempdir().unwrap();
    let first = create(temp.path(), &new(Some("2580"))).unwrap();
    for other in [new(Some("2581")), new(None), NewHome { name: "bob", ..new(None) }] {
        assert_ne!(create(temp.path(), &other).unwrap(), first);
    }
}

#[test]
fn keys_that_an_account_may_know_are_not_thrown_away() {
    let temp = tempfile::tempdir().unwrap();
    let first = create(temp.path(), &new(Some("2580"))).unwrap();
    begin(temp.path());
    assert!(create(temp.path(), &new(Some("2581"))).is_err());
    assert!(create(temp.path(), &new(None)).is_err());
    let other = create(temp.path(), &NewHome { name: "bob", ..new(Some("2580")) });
    assert!(matches!(other, Err(FlowError::Refused(refusal)) if refusal.code == Code::Exists));
    assert_eq!(create(temp.path(), &new(Some("2580"))).unwrap(), first);
}

#[test]
fn a_folder_without_a_home_is_an_unknown_device() {
    let temp = tempfile::tempdir().unwrap();
    for path in [temp.path().join("none"), temp.path().to_owned()] {
        let error = Agent::open(&path, options()).map(|_| ()).unwrap_err();
        assert!(matches!(error, FlowError::Refused(refusal) if refusal.code == Code::UnknownDevice));
    }
}

#[test]
fn a_damaged_home_is_a_fault_with_a_sentence() {
    let temp = tempfile::tempdir().unwrap();
    create(temp.path(), &new(None)).unwrap();
    std::fs::write(temp.path().join(STATE_FILE), b"not a home").unwrap();
    let error = Agent::open(temp.path(), options()).map(|_| ()).unwrap_err();
    assert!(matches!(error, FlowError::Fault(sentence) if sentence.contains("cannot be read")));
}

#[test]
fn a_stand_in_that_was_accepted_once_stays_accepted() {
    let temp = tempfile::tempdir().unwrap();
    let accepting = Options { accept_evidence: vec!["sim".to_owned()], ..options() };
    drop(Agent::create(temp.path(), &new(None), accepting).unwrap());
    let agent = Agent::open(temp.path(), options()).unwrap();
    assert_eq!(agent.home.trust.stand_ins, ["sim"]);
    assert!(agent.standing().unpinned);
}

#[test]
fn a_home_that_did_not_change_is_not_written_again() {
    let temp = tempfile::tempdir().unwrap();
    let mut agent = Agent::create(temp.path(), &new(None), options()).unwrap();
    let file = temp.path().join(STATE_FILE);
    std::fs::remove_file(&file).unwrap();
    agent.save().unwrap();
    assert!(!file.exists());
    agent.home.name.push('x');
    agent.save().unwrap();
    assert!(file.exists());
}

#[test]
fn no_members_step_is_made_before_joining() {
    let temp = tempfile::tempdir().unwrap();
    let mut agent = Agent::create(temp.path(), &new(None), options()).unwrap();
    let error = agent.sync().unwrap_err();
    assert!(matches!(error, FlowError::Refused(refusal) if refusal.code == Code::UnknownDevice));
}
