//! The systemd unit, and what the program says to the service manager.

use crate::harness::{World, signal, until};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/systemd/keyferry.service");

/// The values of a directive, in order; an empty one takes back those before it.
fn values(unit: &str, section: &str, directive: &str) -> Vec<String> {
    let mut here = "";
    let mut found = Vec::new();
    for line in unit.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            here = line;
        } else if here == section {
            let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("no directive: {line}"));
            if name == directive {
                found.push(value.to_owned());
            }
        }
    }
    found
}

#[test]
fn unit_keeps_secrets_in_memory_and_the_service_in_its_folder() {
    let unit = fs::read_to_string(UNIT).unwrap();
    let wanted = [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("Restart", "on-failure"),
        ("User", "keyferry"),
        ("StateDirectory", "keyferry"),
        ("UMask", "0077"),
        ("LimitCORE", "0"),
        ("LimitMEMLOCK", "64M"),
        ("MemorySwapMax", "0"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("ProtectSystem", "strict"),
        ("ReadWritePaths", "/var/lib/keyferry"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("PrivateDevices", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
        ("SystemCallArchitectures", "native"),
    ];
    for (directive, value) in wanted {
        assert_eq!(values(&unit, "[Service]", directive), [value], "{directive}");
    }
    let start = values(&unit, "[Service]", "ExecStart");
    assert_eq!(start, ["/usr/bin/keyferry up --data /var/lib/keyferry $KEYFERRY_UP"]);
    // What it starts is a command line that this program has.
    let help = crate::harness::keyferry(&["help", "up"]);
    assert!(help.out.contains("--data"), "{help}");
}

#[test]
fn systemd_itself_finds_nothing_wrong_with_the_unit_where_it_is_installed() {
    let world = World::new();
    let unit = fs::read_to_string(UNIT).unwrap().replace("/usr/bin/keyferry", env!("CARGO_BIN_EXE_keyferry"));
    let file = world.file("keyferry.service", &unit);
    let analyze = |words: &[&str]| Command::new("systemd-analyze").args(words).arg(&file).output();
    let Ok(verified) = analyze(&["verify", "--man=no"]) else {
        // Then the directives themselves must do, which the test before this one reads.
        assert!(!values(&unit, "[Service]", "ExecStart").is_empty());
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn service_manager_hears_when_it_serves_and_when_it_stops() {
    let world = World::new();
    let path = world.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    assert_tells(&world, path.as_os_str().to_str().unwrap(), &socket);
}

#[cfg(target_os = "linux")]
#[test]
fn service_manager_with_an_abstract_socket_hears_it_too() {
    use std::os::linux::net::SocketAddrExt as _;
    let world = World::new();
    let name = format!("keyferry-test-{}", world.root().display());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    assert_tells(&world, &format!("@{name}"), &socket);
}

fn assert_tells(world: &World, address: &str, socket: &UnixDatagram) {
    let hear = || {
        let mut buffer = [0; 256];
        let len = socket.recv(&mut buffer).expect("a word from the service");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    };
    let mut child = up(&world.data(), address);
    assert_eq!(hear(), "READY=1");
    // A reload without TLS files is no end.
    signal(child.id(), "HUP");
    signal(child.id(), "TERM");
    assert_eq!(hear(), "STOPPING=1");
    let status = until("its end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

fn up(data: &Path, address: &str) -> std::process::Child {
    Command::new(env!("CARGO_BIN_EXE_keyferry"))
        .args(["up", "--json", "--listen", "127.0.0.1:0", "--shards", "1", "--data"])
        .arg(data)
        .env("NOTIFY_SOCKET", address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
