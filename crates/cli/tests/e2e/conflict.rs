//! Two devices edit one passkey at once: the slower one is told, or its edit is made again where its wish still holds.

use crate::harness::{Device, Person, Said, World, creation, until};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

const SITE: &str = "https://example.org";
const RP_ID: &str = "example.org";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The next sealed request is held.
    Armed,
    Holding,
}

/// A gateway's door that can hold a request on its way.
#[derive(Clone)]
struct Gate {
    url: String,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Gate {
    fn before(address: &str) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let gate = Gate { url, state: Arc::new((Mutex::new(State::Open), Condvar::new())) };
        let (keeper, address) = (gate.clone(), address.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(&address).unwrap();
                let (mut out, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let keeper = keeper.clone();
                std::thread::spawn(move || {
                    keeper.pass(client, &mut out);
                    let _ = out.shutdown(std::net::Shutdown::Both);
                });
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut &server, &mut back);
                    let _ = back.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        gate
    }

    fn pass(&self, mut from: TcpStream, to: &mut TcpStream) {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if bytes.starts_with(b"POST /v1/requests") {
                self.hold();
            }
            if to.write_all(&bytes[..count]).is_err() {
                return;
            }
        }
    }

    fn hold(&self) {
        let (state, changed) = &*self.state;
        let mut state = state.lock().unwrap();
        if *state == State::Armed {
            *state = State::Holding;
            let _open = changed.wait_while(state, |state| *state == State::Holding).unwrap();
        }
    }

    fn set(&self, to: State) {
        *self.state.0.lock().unwrap() = to;
        self.state.1.notify_all();
    }

    /// Runs a command whose request is held until `meanwhile` is done.
    #[track_caller]
    fn late(&self, device: &Device, words: &[&str], meanwhile: impl FnOnce()) -> Said {
        self.set(State::Armed);
        std::thread::scope(|scope| {
            let command = scope.spawn(|| device.run(words));
            until("the held request", || (*self.state.0.lock().unwrap() == State::Holding).then_some(()));
            meanwhile();
            self.set(State::Open);
            command.join().unwrap()
        })
    }
}

fn names(device: &Device) -> Vec<String> {
    let list = device.run(&["passkey", "list"]).done();
    let names = list["passkeys"].as_array().unwrap().iter();
    names.map(|passkey| passkey["user_name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_slower_of_two_edits_is_told_or_made_again_and_both_devices_agree() {
    let world = World::new();
    let service = world.service();
    let gate = Gate::before(service.address());
    let ada = Person::new(&world, &service, "ada");
    let phone = ada.enrol("phone");
    let laptop = Person::stranger(&world, &service, "ada").through(&gate.url).join("laptop");
    let created = phone.create(SITE, &creation(RP_ID, "ada")).done();
    let id = created["id"].as_str().unwrap();
    let rename = |name| vec!["passkey", "rename", "--id", id, "--user-name", name];
    let delete = vec!["passkey", "delete", "--id", id];
    let by_phone = |words: &[&str]| drop(phone.run(words).done());

    // Another name: the slower device does not write over it unseen.
    let said = gate.late(&laptop, &rename("by the laptop"), || by_phone(&rename("by the phone")));
    let refusal = said.refused("conflict");
    assert!(refusal.message.contains("\"by the phone\""), "{}", refusal.message);
    assert_eq!((names(&laptop), names(&phone)), (vec!["by the phone".to_owned()], names(&laptop)));
    // It has seen it now, so it may.
    laptop.run(&rename("by the laptop")).done();

    // The same name: nothing is left to do.
    let said = gate.late(&laptop, &rename("the same"), || by_phone(&rename("the same"))).done();
    assert!(said["meanwhile"].as_str().unwrap().contains("the same name"), "{said}");

    // Whoever deletes means the passkey, whatever it is called.
    let said = gate.late(&laptop, &delete, || by_phone(&rename("at the last moment"))).done();
    assert_eq!(said["deleted"], true);
    assert!(said["meanwhile"].as_str().unwrap().contains("at the last moment"), "{said}");
    assert_eq!((names(&laptop).len(), names(&phone).len()), (0, 0));

    // Deleted by both, and renamed after it was deleted.
    let created = phone.create(SITE, &creation(RP_ID, "bob")).done();
    let id = created["id"].as_str().unwrap();
    let said = gate
        .late(&laptop, &["passkey", "rename", "--id", id, "--user-name", "too late"], || {
            by_phone(&["passkey", "delete", "--id", id]);
        })
        .refused("conflict");
    assert!(said.message.contains("deleted"), "{}", said.message);
    let created = phone.create(SITE, &creation(RP_ID, "cleo")).done();
    let delete = ["passkey", "delete", "--id", created["id"].as_str().unwrap()];
    let said = gate.late(&laptop, &delete, || by_phone(&delete)).done();
    assert!(said["meanwhile"].as_str().unwrap().contains("deleted it"), "{said}");
}
