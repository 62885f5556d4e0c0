//! The identity of this process and its machine, for other processes that open the same file.

use std::fs;
use std::path::Path;

use driftlock_domain::store_file::owner::Owner;

/// This process, as the owner of the file at `path`.
pub(crate) fn this_process(path: &Path) -> Result<Owner, getrandom::Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)?;
    let read = |place: &str| fs::read_to_string(place).unwrap_or_default().trim().to_owned();
    let (name, machine_id) = (read("/proc/sys/kernel/hostname"), read("/etc/machine-id"));
    let machine = [name, machine_id].join(" ").trim().to_owned();
    Ok(Owner {
        id,
        machine: if machine.is_empty() { "an unnamed machine".into() } else { machine },
        boot: read("/proc/sys/kernel/random/boot_id"),
        pid: std::process::id(),
        path: path.display().to_string(),
    })
}

/// The kernel's boot id as bytes; zeros where it has none.
pub(crate) fn boot_bytes(boot: &str) -> [u8; 16] {
    let digits: Vec<u8> = boot
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .filter_map(|digit| u8::try_from(digit).ok())
        .collect();
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_is_sixteen_bytes() {
        let bytes = boot_bytes("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0");
        assert_eq!((bytes[0], bytes[15]), (0x0f, 0xf0));
        assert_eq!(boot_bytes(""), [0; 16]);
    }
}
