//! The account's devices.

use super::{Call, Flow, FlowError, Sender, Step, granted, unexpected};
use crate::home::Home;
use keyferry_crypto::random::Random;
use keyferry_wire::DeviceId;
use keyferry_wire::command::{self, Answer, Command, DeviceInfo};

/// Asks for all devices that are or were members.
#[derive(Debug)]
pub struct ListDevices;

impl Flow for ListDevices {
    type Output = Vec<DeviceInfo>;

    fn next(
        &mut self,
        home: &mut Home,
        random: &mut dyn Random,
        answers: Option<Vec<Answer>>,
    ) -> Result<Step<Vec<DeviceInfo>>, FlowError> {
        if answers.is_none() {
            return Ok(Step::Call(Call::fresh(Sender::Member, vec![Command::ListDevices], random)));
        }
        match granted(answers)?.as_slice() {
            [Answer::Devices(list)] => {
                home.list(&list.devices)?;
                Ok(Step::Done(list.devices.clone()))
            }
            _ => Err(unexpected()),
        }
    }
}

/// Gives a device another label.
#[derive(Debug)]
pub struct RenameDevice {
    device: DeviceId,
    label: String,
}

impl RenameDevice {
    pub fn new(device: DeviceId, label: &str) -> RenameDevice {
        RenameDevice { device, label: label.to_owned() }
    }
}

impl Flow for RenameDevice {
    type Output = ();

    fn next(
        &mut self,
        home: &mut Home,
        random: &mut dyn Random,
        answers: Option<Vec<Answer>>,
    ) -> Result<Step<()>, FlowError> {
        if answers.is_none() {
            let rename = command::RenameDevice { device: self.device, label: self.label.clone() };
            let commands = vec![Command::RenameDevice(rename)];
            return Ok(Step::Call(Call::fresh(Sender::Member, commands, random)));
        }
        match granted(answers)?.as_slice() {
            [Answer::Renamed] => {
                let device = self.device;
                for info in home.devices.iter_mut().filter(|info| info.device == device) {
                    info.label = self.label.clone();
                }
                Ok(Step::Done(()))
            }
            _ => Err(unexpected()),
        }
    }
}
