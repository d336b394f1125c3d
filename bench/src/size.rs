//! What was built, by target: files of programs, flash and RAM of the firmware's images, held
//! against their ceilings.

use crate::Order;
use crate::board::{CLIENT, DEVICE};
use crate::report::Figures;
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of flash and of RAM, stack included, that an image may take: a part of 256 KiB and 64 KiB
/// has to keep most of its flash and half of its RAM.
const FLASH_MAX: u64 = 96 * 1024;
const RAM_MAX: u64 = 32 * 1024;

/// Where builds are, unless told.
const BUILT: &str = "target";

/// The images, below `firmware`.
const IMAGES: [&str; 2] = ["lm3s6965evb", "mps2-an385"];

/// Lists what users get below `order.built`: `release` of this machine, `static/TARGET/board`, and
/// `firmware/TARGET/release`. What is not there is left out.
///
/// # Errors
///
/// If something cannot be read, or is over its ceiling; the table is in the text then.
pub(crate) fn measure(order: &Order) -> Result<Figures, String> {
    let built = order.built.as_deref().unwrap_or(Path::new(BUILT));
    let columns = ["file or flash KiB", "max", "static RAM KiB", "stack KiB", "RAM KiB", "RAM max"];
    let mut figures = Figures::new(&["target", "program"], &columns);
    let mut over = false;
    for (target, folder) in folders(built) {
        for (program, ceiling) in [("reeve", CLIENT), ("reeve-device", DEVICE)] {
            let Ok(file) = fs::metadata(folder.join(program)) else { continue };
            // A program that links the system's libraries is no board's.
            let max = if target.contains("musl") { ceiling.file_kib } else { f64::NAN };
            let numbers = [kib(file.len()), max, f64::NAN, f64::NAN, f64::NAN, f64::NAN];
            over |= numbers[0] > max;
            figures.push(vec![target.clone(), program.into()], numbers.to_vec());
        }
        for name in IMAGES {
            let path = folder.join(name);
            let Ok(bytes) = fs::read(&path) else { continue };
            let Image { flash, ram } = image(&bytes).ok_or(format!("{path:?}: not an image"))?;
            let stack = high_water(&path);
            let all = ram + stack.unwrap_or(0);
            over |= flash > FLASH_MAX || all > RAM_MAX;
            let (stack, all) = stack.map_or((f64::NAN, f64::NAN), |stack| (kib(stack), kib(all)));
            let numbers = [kib(flash), kib(FLASH_MAX), kib(ram), stack, all, kib(RAM_MAX)];
            figures.push(vec![target.clone(), name.into()], numbers.to_vec());
        }
    }
    match over {
        false => Ok(figures),
        true => Err(format!("over a ceiling\n{}", figures.text())),
    }
}

/// Targets and where their release builds are.
fn folders(built: &Path) -> Vec<(String, PathBuf)> {
    let mut found = vec![("this machine".to_string(), built.join("release"))];
    for (kind, profile) in [("static", "board"), ("firmware", "release")] {
        let list = fs::read_dir(built.join(kind)).into_iter().flatten().flatten();
        let mut targets: Vec<PathBuf> = list.map(|entry| entry.path()).collect();
        targets.sort();
        found.extend(targets.into_iter().filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_string();
            Some((name, path.join(profile)))
        }));
    }
    found
}

fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}

/// The stack's high water in bytes, as the firmware's check left it beside the image; nothing if
/// that was another build's.
fn high_water(image: &Path) -> Option<u64> {
    let told = image.with_file_name(format!("{}.stack", image.file_name()?.to_str()?));
    let time = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    if time(&told)? < time(image)? {
        return None;
    }
    fs::read_to_string(told).ok()?.trim().parse().ok()
}

/// What an image takes, in bytes. Data count twice: their start values lie in flash.
#[derive(Debug, PartialEq, Eq)]
struct Image {
    flash: u64,
    ram: u64,
}

/// Sums up the sections of a 32-bit little-endian ELF file; nothing if it is no such file.
fn image(bytes: &[u8]) -> Option<Image> {
    // A section's type without bytes in the file; its flags for what is written to and in memory.
    let (no_bits, write, alloc) = (8, 1, 2);
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let half = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    if !bytes.starts_with(b"\x7fELF\x01\x01") {
        return None;
    }
    let (table, entry, count) = (word(32)? as usize, half(46)? as usize, half(48)? as usize);
    let mut image = Image { flash: 0, ram: 0 };
    for at in 0..count {
        let section = table.checked_add(at * entry)?;
        let (kind, flags, size) = (word(section + 4)?, word(section + 8)?, word(section + 20)?);
        if flags & alloc == 0 {
            continue;
        }
        image.flash += if kind == no_bits { 0 } else { u64::from(size) };
        image.ram += if flags & write == 0 { 0 } else { u64::from(size) };
    }
    Some(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with sections of these types, flags and sizes.
    fn file(sections: &[[u32; 3]]) -> Vec<u8> {
        let mut bytes = vec![0; 52 + 40 * sections.len()];
        bytes[..6].copy_from_slice(b"\x7fELF\x01\x01");
        bytes[32..36].copy_from_slice(&52_u32.to_le_bytes());
        bytes[46..48].copy_from_slice(&40_u16.to_le_bytes());
        bytes[48..50].copy_from_slice(&(sections.len() as u16).to_le_bytes());
        for (at, fields) in sections.iter().enumerate() {
            for (field, value) in [4, 8, 20].iter().zip(fields) {
                let from = 52 + at * 40 + field;
                bytes[from..from + 4].copy_from_slice(&value.to_le_bytes());
            }
        }
        bytes
    }

    #[test]
    fn code_is_flash_zeroed_data_is_ram_and_other_data_is_both() {
        let sections = [[1, 6, 1000], [1, 2, 200], [1, 3, 30], [8, 3, 4000], [1, 0, 9999]];
        assert_eq!(image(&file(&sections)), Some(Image { flash: 1230, ram: 4030 }));
    }

    #[test]
    fn what_is_no_image_is_told() {
        let whole = file(&[[1, 6, 1000], [8, 3, 4000]]);
        for end in 0..whole.len() - 16 {
            assert_eq!(image(&whole[..end]), None, "{end} bytes");
        }
        let mut astray = whole;
        astray[32..36].copy_from_slice(&[0xff; 4]);
        assert_eq!(image(&astray), None);
    }

    #[test]
    fn builds_are_listed_by_target_with_the_stack_that_was_measured() {
        let built = std::env::temp_dir().join(format!("reeve-size-{}", std::process::id()));
        let (board, musl) =
            (built.join("firmware/thumb/release"), built.join("static/a-musl/board"));
        for folder in [&board, &musl] {
            fs::create_dir_all(folder).expect("made");
        }
        fs::write(musl.join("reeve-device"), [0; 2048]).expect("written");
        fs::write(board.join("lm3s6965evb"), file(&[[1, 6, 2048], [8, 3, 1024]])).expect("written");
        fs::write(board.join("lm3s6965evb.stack"), "512\n").expect("written");
        let (_, mut order) = crate::order::parse(lexopt::Parser::from_args(["size"])).expect("fit");
        order.built = Some(built.clone());
        let table = measure(&order).expect("below the ceilings").text();
        let row = |name: &str| -> Vec<&str> {
            let line = table.lines().find(|line| line.contains(name)).expect("a row");
            line.split('|').map(str::trim).collect()
        };
        assert_eq!(row("reeve-device")[1..5], ["a-musl", "reeve-device", "2", "700"]);
        assert_eq!(row("lm3s6965evb")[3..9], ["2", "96", "1", "0.50", "1.50", "32"]);
        fs::write(board.join("lm3s6965evb.stack"), "32000").expect("written");
        assert!(measure(&order).is_err_and(|why| why.starts_with("over a ceiling")));
        fs::remove_dir_all(&built).expect("removed");
    }
}
