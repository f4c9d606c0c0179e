//! Memory after an operation: nothing that was used for it is left in the enclave, and nothing of it ever was in the
//! gateway. What an enclave keeps between operations is declared, and stands only there. And no crash writes any of
//! it to a disk.

mod derived;
mod item;

use crate::harness::{
    Finder, Person, Region, Service, World, creation, forms, from_base64url, is_alive, is_readable, keyferry,
    origin, random, regions, request, signal, skip, until,
};
use derived::{Derived, Named, Rows, Typed};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const PASSWORD: &str = "memory-password-qvx-9";
const PIN: &str = "memory-pin-zqw-1";
const WRONG_PIN: &str = "memory-pin-wrong-vbn";
const NEW_PIN: &str = "memory-pin-new-hjk-2";
const DEVICE_PIN: &str = "memory-device-pin-tyu";
const RP_ID: &str = "memory-site-pfm.example.org";
const USER: &str = "memory-user-lmr";
const LABEL: &str = "memory-phone-rtf";
const NAME: &str = "memory-account-wjz";
/// Place in a device's record of the hash by which the gateway knows its access token.
const ACCESS_HASH: &str = "device record.9";

/// What a process held after one step.
struct Snapshot {
    after: &'static str,
    memory: Vec<Region>,
}

/// A full story; memory and rows after each step of it.
struct Story {
    steps: Vec<Snapshot>,
    gateway: Vec<Region>,
    derived: Derived,
}

fn tell(world: &World, mut service: Service) -> Story {
    let mut steps = Vec::new();
    let mut rows = Rows::default();
    let enclave = service.enclave_pid();
    let data = service.data().to_path_buf();
    let mut look = |after| {
        steps.push(Snapshot { after, memory: regions(enclave) });
        rows.gather(&data);
    };
    let mut ada = Person::stranger(world, &service, NAME);
    ada.password = world.file("memory.password", PASSWORD);
    ada.pin = world.file("memory.pin", PIN);
    ada.device_pin = world.file("memory.device-pin", DEVICE_PIN);
    let wrong = world.file("memory.wrong-pin", WRONG_PIN);
    let new = world.file("memory.new-pin", NEW_PIN);
    ada.create_account().done();
    look("the account was made");
    let laptop = ada.enrol_verifying("laptop");
    look("the first device enrolled and set a PIN");
    let created = laptop.create_verified(&origin(RP_ID), &creation(RP_ID, USER)).done();
    look("a passkey was made");
    laptop.get_verified(&origin(RP_ID), &request(RP_ID)).done();
    look("a passkey signed");
    let phone = ada.device(LABEL);
    ada.try_join(LABEL, &phone, &wrong).refused("pin_wrong");
    look("a PIN was wrong");
    ada.try_join(LABEL, &phone, &ada.pin).done();
    look("a PIN was right and a device joined");
    let change = ["pin", "change", "--pin-file", ada.pin.to_str().unwrap(), "--new-pin-file"];
    laptop.run(&[&change[..], &[new.to_str().unwrap()]].concat()).done();
    look("the PIN was changed");
    let id = created["id"].as_str().unwrap();
    phone.run(&["passkey", "rename", "--id", id, "--user-name", "memory-renamed-bcw"]).done();
    look("a passkey was renamed");
    let gateway = regions(service.pid());
    service.stop();
    let typed = Typed {
        name: NAME,
        password: PASSWORD,
        pins: &[PIN, WRONG_PIN, NEW_PIN],
        rp_id: RP_ID,
        homes: &[&laptop.home, &phone.home],
    };
    let mut derived = Derived::new(&data, &rows, &typed);
    for text in
        [PASSWORD, PIN, WRONG_PIN, NEW_PIN, DEVICE_PIN, RP_ID, USER, LABEL, NAME, "memory-renamed-bcw"]
    {
        derived.secret.insert(text.into(), format!("the text {text}"));
    }
    let client_data = from_base64url(&created["response"]["clientDataJSON"]);
    derived.secret.insert(client_data[..60].to_vec(), "client data".to_owned());
    Story { steps, gateway, derived }
}

/// The forms in which a key can stand in memory: those of text, the limbs of a big number, and the two pads under
/// which HMAC takes it in.
fn forms_in_memory(value: &[u8]) -> Vec<Vec<u8>> {
    let mut all = forms(value);
    all.push(value.iter().rev().copied().collect());
    for word in [4, 8] {
        if value.len().is_multiple_of(word) {
            all.push(value.chunks(word).flat_map(|word| word.iter().rev().copied()).collect());
        }
    }
    for pad in [0x36, 0x5c] {
        all.push(value.iter().map(|byte| byte ^ pad).collect());
    }
    all
}

/// scalar * 2^256 modulo the order of P-256: how arithmetic libraries keep it, most significant byte first.
fn montgomery(scalar: &[u8; 32]) -> [u8; 32] {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let mut value = *scalar;
    for _ in 0..256 {
        let mut carry = 0;
        for byte in value.iter_mut().rev() {
            let doubled = u16::from(*byte) << 1 | carry;
            *byte = doubled.to_be_bytes()[1];
            carry = doubled >> 8;
        }
        if carry == 1 || value >= ORDER {
            let mut borrow = false;
            for (byte, order) in value.iter_mut().zip(ORDER).rev() {
                let (once, first) = byte.overflowing_sub(order);
                let (twice, second) = once.overflowing_sub(u8::from(borrow));
                (*byte, borrow) = (twice, first || second);
            }
        }
    }
    value
}

#[test]
fn montgomery_form_of_one_is_the_radix_modulo_the_order() {
    let mut one = [0; 32];
    one[31] = 1;
    // 2^256 - n.
    let expected = "00000000ffffffff00000000000000004319055258e8617b0c46353d039cdaaf";
    assert_eq!(crate::harness::hex(&montgomery(&one)), expected);
}

/// How often each value stands in which kind of memory.
fn search<'a>(
    values: &'a Named,
    scalars: &[[u8; 32]],
    memory: &[Region],
) -> BTreeMap<(&'a str, String), usize> {
    let mut strings = Vec::new();
    let mut owners = Vec::new();
    let mut add = |owner: &'a str, all: Vec<Vec<u8>>| {
        owners.extend(vec![owner; all.len()]);
        strings.extend(all);
    };
    for (value, name) in values {
        add(name, forms_in_memory(value));
    }
    for scalar in scalars {
        let form = montgomery(scalar);
        add("passkey, Montgomery form", vec![form.to_vec(), form.iter().rev().copied().collect()]);
    }
    let finder = Finder::new(strings);
    let mut hits = BTreeMap::new();
    for region in memory {
        let place = region.name.split_whitespace().nth(5).unwrap_or("a mapping without a name");
        for (number, _) in finder.find(&region.bytes) {
            *hits.entry((owners[number], place.to_owned())).or_default() += 1;
        }
    }
    hits
}

fn bytes_of<'a>(memory: impl IntoIterator<Item = &'a Region>) -> usize {
    memory.into_iter().map(|region| region.bytes.len()).sum()
}

/// Nothing lies deeper on the stack than what is overwritten after each message: none of them went deeper.
fn assert_stack_is_wiped(step: &Snapshot) {
    /// `keyferry_enclave::serve`, with what the program's start and its callers take above it.
    const DEEPEST: usize = (128 + 16) * 1024;
    let stack = step.memory.iter().find(|region| region.name.ends_with("[stack]")).unwrap();
    let used = stack.bytes.len() - stack.bytes.iter().position(|byte| *byte != 0).unwrap();
    assert!(used < DEEPEST, "{used} bytes of the stack were used, fewer are wiped, after {}", step.after);
}

/// Whether this enclave's memory can be read at all.
fn readable(service: &Service) -> bool {
    is_readable(service.enclave_pid()) && is_readable(service.pid())
}

#[test]
fn after_each_operation_nothing_secret_is_left_in_memory() {
    let world = World::new();
    let service = world.service();
    if !readable(&service) {
        return skip("the memory of the enclave is for root alone").unwrap_or_default();
    }
    let stand_ins = service.ready["stand_ins"].to_string();
    assert!(!stand_ins.contains("role"), "no keyferry-enclave beside keyferry: `cargo build --workspace`");
    let Story { steps, gateway, mut derived } = tell(&world, service);
    // It passes the door in the clear, so that the gateway can let the device read; frames are kept for the next one.
    derived.secret.retain(|_, name| name != ACCESS_HASH);
    let mut left = BTreeMap::new();
    for step in &steps {
        for (name, count) in search(&derived.secret, &derived.scalars, &step.memory) {
            left.insert((step.after, name), count);
        }
        // What is declared is found, and stands in one place: so the search finds what is there.
        for ((name, place), count) in search(&derived.declared, &[], &step.memory) {
            assert_eq!(count, 1, "{name} stands {count} times in {place} after {}", step.after);
        }
        let found = search(&derived.declared, &[], &step.memory).len();
        assert_eq!(found, derived.declared.len(), "declared keys that are not found after {}", step.after);
    }
    for step in &steps {
        assert_stack_is_wiped(step);
    }
    let read: usize = steps.iter().map(|step| bytes_of(&step.memory)).sum();
    println!(
        "enclave: {} secret and {} declared values, {} steps, {read} bytes read; gateway: {} bytes",
        derived.secret.len(),
        derived.declared.len(),
        steps.len(),
        bytes_of(&gateway)
    );
    assert!(left.is_empty(), "left in the enclave's memory: {left:#?}");
    // The gateway has the software token, which stands in for an HSM, and is shown access tokens.
    let mut foreign = derived.secret;
    foreign.retain(|_, name| name != "access token");
    foreign.extend(derived.declared.into_iter().filter(|(_, name)| name != "K_root"));
    let seen = search(&foreign, &derived.scalars, &gateway);
    assert!(seen.is_empty(), "in the gateway's memory: {seen:#?}");
}

/// The control: the same story and search on an enclave that wipes less. `keyferry` in its stand-in role has no
/// allocator that wipes what is freed.
#[test]
fn an_enclave_that_wipes_less_is_caught() {
    let world = World::new();
    let keyferry = env!("CARGO_BIN_EXE_keyferry");
    let program = world.file("enclave.sh", format!("#!/bin/sh\nexec '{keyferry}' enclave-stand-in\n"));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let service = Service::start(&world.data(), &["--enclave", program.to_str().unwrap()]);
    if !readable(&service) {
        return skip("the memory of the enclave is for root alone").unwrap_or_default();
    }
    let Story { steps, derived, .. } = tell(&world, service);
    let mut found = BTreeMap::new();
    for step in &steps {
        for ((name, _), count) in search(&derived.secret, &derived.scalars, &step.memory) {
            *found.entry(name).or_insert(0) += count;
        }
    }
    println!("without the wiping allocator: {found:#?}");
    assert!(found.len() > 3, "the search finds too little: {found:#?}");
}

#[test]
fn the_search_finds_every_form_of_a_key() {
    let value: [u8; 32] = random();
    let named = Named::from([(value.to_vec(), "planted".to_owned())]);
    for form in forms_in_memory(&value) {
        let memory = [Region { name: String::new(), bytes: [&[7; 100][..], &form, &[7; 100]].concat() }];
        assert!(!search(&named, &[], &memory).is_empty(), "a form is not found");
    }
}

/// `RLIMIT_CORE`, soft and hard.
fn core_limit(pid: u32) -> Vec<String> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

#[test]
fn core_dumps_are_off_and_memory_is_locked_where_that_is_allowed() {
    let world = World::new();
    let service = world.service();
    for pid in [service.pid(), service.enclave_pid()] {
        assert_eq!(core_limit(pid), ["0", "0"]);
    }
    let locked = is_locked(service.enclave_pid());
    assert_eq!(service.ready["memory"]["enclave_locked"], locked);
    assert_eq!(service.ready["memory"]["core_dumps"], false);
    let warned = service.log().contains("memory is not locked");
    assert_eq!(warned, !locked, "locked, or a warning: {}", service.log());
    println!("enclave locked: {locked}");
}

fn is_locked(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap().trim() != "0 kB"
}

fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").unwrap().contains("Uid:\t0\t")
}

/// As a user without rights: root plays one.
fn unprivileged(program: impl AsRef<OsStr>) -> Command {
    const NOBODY: u32 = 65_534;
    let mut command = Command::new(program);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn may_read(pid: u32) -> bool {
    let maps = format!("/proc/{pid}/maps");
    unprivileged("cat").arg(maps).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

#[test]
fn another_process_of_the_same_user_does_not_read_the_memory() {
    let world = World::new();
    let open = fs::Permissions::from_mode(0o777);
    for folder in [world.root(), &world.path("home")] {
        fs::create_dir_all(folder).unwrap();
        fs::set_permissions(folder, open.clone()).unwrap();
    }
    // A place that everybody may enter; the build's may not be one.
    let keyferry = Path::new(env!("CARGO_BIN_EXE_keyferry"));
    for program in ["keyferry", "keyferry-enclave"] {
        fs::copy(keyferry.with_file_name(program), world.path(program)).unwrap();
    }
    let log = fs::File::create(world.path("up.log")).unwrap();
    let ready = fs::File::create(world.path("ready")).unwrap();
    let up = unprivileged(world.path("keyferry"))
        .args(["up", "--json", "--listen", "127.0.0.1:0", "--data"])
        .arg(world.path("home").join("data"))
        .stdout(ready)
        .stderr(log)
        .spawn();
    let up = Ended(up.unwrap());
    let ready = until("a service", || {
        let line = fs::read_to_string(world.path("ready")).unwrap();
        line.ends_with('\n').then_some(line)
    });
    let enclave = until("an enclave", || crate::harness::children(up.0.id()).first().copied());
    // The control: what switched nothing off is read.
    let ordinary = Ended(unprivileged("sleep").arg("600").spawn().unwrap());
    until("a process that can be read", || may_read(ordinary.0.id()).then_some(()));
    let [gateway_read, enclave_read] = [up.0.id(), enclave].map(may_read);
    let locked = is_locked(enclave);
    drop(up);
    assert!(!gateway_read && !enclave_read, "gateway {gateway_read}, enclave {enclave_read}");
    // Without the right to lock, and with a limit, it says so and serves.
    let said = fs::read_to_string(world.path("up.log")).unwrap();
    assert_eq!(said.contains("memory is not locked"), !locked, "{said}");
    assert!(ready.contains(&format!("\"enclave_locked\":{locked}")), "{ready}");
    println!("without privileges: enclave locked: {locked}");
}

/// Ends the enclave and then the gateway by a signal that dumps core, under a shell that allows it.
#[test]
fn a_crash_leaves_no_core_file() {
    let world = World::new();
    let folder = world.path("crash");
    fs::create_dir(&folder).unwrap();
    let shell = "ulimit -S -c unlimited 2>/dev/null || ulimit -S -c \"$(ulimit -H -c)\"";
    // The control: a process of the same shell that switched nothing off.
    let script = format!("{shell}; cd '{}' && exec sleep 600", world.root().display());
    let mut ordinary = Command::new("sh").args(["-c", &script]).spawn().unwrap();
    until("a process to end", || {
        let name = fs::read_to_string(format!("/proc/{}/comm", ordinary.id())).unwrap();
        (name.trim() == "sleep").then_some(())
    });
    signal(ordinary.id(), "ABRT");
    println!("an ordinary process dumps core here: {}", ordinary.wait().unwrap().core_dumped());
    let program = env!("CARGO_BIN_EXE_keyferry");
    let script = format!(
        "{shell}; cd '{}' && exec '{program}' up --json --listen 127.0.0.1:0 --data '{}' >ready",
        folder.display(),
        world.data().display()
    );
    let mut up = Ended(Command::new("sh").args(["-c", &script]).spawn().unwrap());
    let ready = folder.join("ready");
    let ready = until("a service", || fs::read_to_string(&ready).ok().filter(|line| line.ends_with('\n')));
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    let password = world.file("password", PASSWORD);
    for name in ["SEGV", "ABRT"] {
        // An enclave that ended is started again for whoever asks something of it.
        let enclave = until("an enclave that answers", || {
            let account =
                ["account", "create", "--accept-evidence", "sim", "--name", name, "--password-file"];
            let server = ["--server", ready["url"].as_str().unwrap()];
            let said = keyferry(&[&account[..], &[password.to_str().unwrap()], &server].concat());
            (said.status == Some(0)).then(|| crate::harness::children(up.0.id()).first().copied()).flatten()
        });
        signal(enclave, name);
        until("the end of the enclave", || (!is_alive(enclave)).then_some(()));
    }
    signal(up.0.id(), "ABRT");
    let status = up.0.wait().unwrap();
    assert_eq!(status.signal(), Some(6), "{status}");
    assert!(!status.core_dumped(), "the gateway dumped core");
    assert_eq!(cores(&folder), [""; 0], "a core file was left");
}

/// A process that does not outlive its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whatever was left in the folder that a core file would be written to.
fn cores(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name != "ready").collect()
}
