//! The files that the first version left (`tests/fixtures/first-version`), in a world of a test's own.

use super::{Device, Service, World};
use serde_json::Value;
use std::fs;
use std::process::Command;

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/first-version/files.tar.gz");

impl World {
    /// A world with the first version's data folder and homes, stopped cleanly.
    #[track_caller]
    pub(crate) fn of_the_first_version() -> World {
        let world = World::new();
        let tar = Command::new("tar").args(["-xzf", FILES, "-C"]).arg(world.root()).status().unwrap();
        assert!(tar.success());
        world
    }

    /// What was kept as JSON beside the folders.
    #[track_caller]
    pub(crate) fn kept(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// A home of the first version whose service is found where it listens now.
    #[track_caller]
    pub(crate) fn moved_home(&self, name: &str, service: &Service) -> Device {
        let device = Device { device_pin: Some(self.path("device-pin")), ..Device::new(&self.path(name)) };
        let before = fs::read_to_string(self.path("url")).unwrap();
        let state = device.home.join("state");
        let mut bytes = fs::read(&state).unwrap();
        assert_eq!(before.len(), service.url.len(), "addresses of one length are exchanged in place");
        let at = bytes.windows(before.len()).position(|window| window == before.as_bytes()).unwrap();
        bytes[at..at + before.len()].copy_from_slice(service.url.as_bytes());
        fs::write(&state, bytes).unwrap();
        device
    }
}
