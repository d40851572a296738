//! How hot the CPU is, where the system tells: the sensors of hwmon
//! (`Documentation/hwmon/sysfs-interface.rst` of the kernel).

use std::fs;
use std::path::Path;

/// Drivers of sensors inside CPUs.
const CHIPS: [&str; 7] = [
    "coretemp",
    "k8temp",
    "k10temp",
    "zenpower",
    "cpu_thermal",
    "soc_thermal",
    "scpi_sensors",
];

/// Degrees Celsius of the hottest sensor.
pub(super) fn of_cpu() -> Option<f64> {
    hottest(Path::new("/sys/class/hwmon"))
}

fn hottest(folder: &Path) -> Option<f64> {
    let mut hottest: Option<f64> = None;
    for chip in fs::read_dir(folder).ok()?.flatten() {
        let name = fs::read_to_string(chip.path().join("name")).unwrap_or_default();
        if !CHIPS.contains(&name.trim()) {
            continue;
        }
        for file in fs::read_dir(chip.path()).into_iter().flatten().flatten() {
            let name = file.file_name();
            let name = name.to_string_lossy();
            if !(name.starts_with("temp") && name.ends_with("_input")) {
                continue;
            }
            // In thousandths of a degree; a sensor may be broken and give an error.
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            if let Ok(thousandths) = text.trim().parse::<i32>() {
                let degrees = f64::from(thousandths) / 1e3;
                hottest = Some(hottest.map_or(degrees, |before| before.max(degrees)));
            }
        }
    }
    hottest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hottest_sensor_of_a_cpu_counts() {
        let folder = std::env::temp_dir().join(format!("zcn-hwmon-{}", std::process::id()));
        let write = |file: &str, text: &str| {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        };
        assert_eq!(hottest(&folder), None);
        write("hwmon0/name", "nvme\n");
        write("hwmon0/temp1_input", "90000\n");
        write("hwmon1/name", "coretemp\n");
        assert_eq!(hottest(&folder), None);
        write("hwmon1/temp1_input", "41000\n");
        write("hwmon1/temp2_input", "57500\n");
        write("hwmon1/temp3_input", "broken");
        write("hwmon1/temp2_crit", "100000\n");
        assert_eq!(hottest(&folder), Some(57.5));
        fs::remove_dir_all(&folder).expect("removed");
    }
}
