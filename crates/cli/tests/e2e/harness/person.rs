//! Somebody with an account.

use super::device::keyferry;
use super::{Device, Said, Service, World, traces};
use std::path::{Path, PathBuf};

pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) password: PathBuf,
    pub(crate) pin: PathBuf,
    /// The PIN that guards a device, for those that have one.
    pub(crate) device_pin: PathBuf,
    server: String,
    folder: PathBuf,
    ca: Option<PathBuf>,
}

pub(crate) const PIN: &str = "harbour-4071";
pub(crate) const DEVICE_PIN: &str = "lantern-8205";

impl Person {
    /// Makes an account.
    #[track_caller]
    pub(crate) fn new(world: &World, service: &Service, name: &str) -> Person {
        let person = Person::stranger(world, service, name);
        person.create_account().done();
        person
    }

    /// Somebody whose account is not made yet.
    pub(crate) fn stranger(world: &World, service: &Service, name: &str) -> Person {
        Person {
            name: name.to_owned(),
            password: world.file(&format!("{name}.password"), format!("password of {name}, long enough")),
            pin: world.file(&format!("{name}.pin"), PIN),
            device_pin: world.file(&format!("{name}.device-pin"), DEVICE_PIN),
            server: service.url.clone(),
            folder: world.root().to_path_buf(),
            ca: None,
        }
    }

    pub(crate) fn believing(mut self, ca: PathBuf) -> Person {
        self.ca = Some(ca);
        self
    }

    /// Goes through another door: a proxy, say.
    pub(crate) fn through(mut self, server: &str) -> Person {
        self.server = server.to_owned();
        self
    }

    pub(crate) fn create_account(&self) -> Said {
        let mut words = vec!["account", "create", "--accept-evidence", "sim", "--json"];
        words.extend(self.identity());
        keyferry(&words)
    }

    /// The first device, without user verification.
    #[track_caller]
    pub(crate) fn enrol(&self, label: &str) -> Device {
        let device = self.device(label);
        self.register("enrol", label, &device, &self.pin).done();
        device
    }

    /// The first device, with a PIN of its own.
    #[track_caller]
    pub(crate) fn enrol_verifying(&self, label: &str) -> Device {
        let device = Device { device_pin: Some(self.device_pin.clone()), ..self.device(label) };
        self.register("enrol", label, &device, &self.pin).done();
        device
    }

    /// Another device, without user verification.
    #[track_caller]
    pub(crate) fn join(&self, label: &str) -> Device {
        let device = self.device(label);
        self.try_join(label, &device, &self.pin).done();
        device
    }

    pub(crate) fn try_join(&self, label: &str, device: &Device, pin: &Path) -> Said {
        self.register("join", label, device, pin)
    }

    /// A device that has not registered yet.
    pub(crate) fn device(&self, label: &str) -> Device {
        let home = self.folder.join(format!("{}.{label}", self.name));
        Device { ca: self.ca.clone(), ..Device::new(&home) }
    }

    pub(crate) fn register(&self, command: &str, label: &str, device: &Device, pin: &Path) -> Said {
        let pin = pin.to_str().unwrap();
        let mut words = vec!["device", command, "--pin-file", pin, "--label", label];
        words.extend(["--accept-evidence", "sim"]);
        if let Some(pin) = &device.device_pin {
            words.extend(["--device-pin-file", pin.to_str().unwrap()]);
        }
        // The certificates come with the device.
        words.extend(self.identity().into_iter().take(6));
        let said = device.run(&words);
        traces::declare_home(&device.home);
        said
    }

    fn identity(&self) -> Vec<&str> {
        let password = self.password.to_str().unwrap();
        let mut words = vec!["--server", &self.server, "--name", &self.name, "--password-file", password];
        if let Some(ca) = &self.ca {
            words.extend(["--ca", ca.to_str().unwrap()]);
        }
        words
    }
}
