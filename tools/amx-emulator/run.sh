#!/bin/sh
# Runs commands under Linux on an emulated processor with AMX. See README.md.
#
# Usage: run.sh BOCHS VMLINUZ FILES COMMANDS
#   BOCHS     the built emulator
#   VMLINUZ   a kernel of Linux 6.1 or newer with its drivers for serial ports built in
#   FILES     a folder of statically linked programs and what they read: the guest's /files
#   COMMANDS  for the guest's shell, run in /files
# What the guest prints goes to standard output; the exit status is that of COMMANDS.
# MEMORY_MIB (default 1024), BIOS and VGABIOS may be set in the environment.
set -eu
[ $# = 4 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
bochs=$1 kernel=$2 files=$3 commands=$4
: "${MEMORY_MIB:=1024}" "${BIOS:=/usr/share/bochs/BIOS-bochs-latest}" "${VGABIOS:=/usr/share/vgabios/vgabios.bin}"
work=$(mktemp -d)
emulator=
trap '[ -z "$emulator" ] || kill "$emulator" 2>/dev/null || true; rm -rf "$work"' EXIT

# The first program of the guest, and all that it sees.
mkdir -p "$work/root/bin" "$work/root/proc" "$work/root/dev" "$work/root/tmp" "$work/disc/isolinux"
cp "$(command -v busybox)" "$work/root/bin/busybox"
cp -r "$files" "$work/root/files"
cat > "$work/root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install /bin
mount -t proc proc /proc && mount -t devtmpfs dev /dev && mount -t tmpfs tmp /tmp
exec < /dev/null > /dev/ttyS0 2>&1
ulimit -c 0
echo "begin $(grep -o -w 'amx_[a-z0-9]*' /proc/cpuinfo | tr '\n' ' ')"
cd /files && sh /commands
echo "status $?"
sleep 1000000
INIT
chmod +x "$work/root/init"
printf '%s\n' "$commands" > "$work/root/commands"
(cd "$work/root" && find . | cpio -o -H newc --quiet | gzip -1) > "$work/disc/initrd.gz"

# A disc that starts it. `fsrm`: this processor has it without `erms`, which Linux 6.1 does not expect.
cp "$kernel" "$work/disc/vmlinuz"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$work/disc/isolinux"
cat > "$work/disc/isolinux/isolinux.cfg" <<'MENU'
DEFAULT linux
PROMPT 0
LABEL linux
 KERNEL /vmlinuz
 INITRD /initrd.gz
 APPEND console=ttyS0,115200 quiet no5lvl nokaslr mitigations=off tsc=reliable tsc_early_khz=100000 clearcpuid=fsrm panic=-1
MENU
xorriso -as mkisofs -quiet -o "$work/disc.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat \
    -no-emul-boot -boot-load-size 4 -boot-info-table "$work/disc" 2> /dev/null

cat > "$work/bochsrc" <<MACHINE
cpu: model=sapphire_rapids, count=1, ips=100000000, reset_on_triple_fault=0
memory: guest=$MEMORY_MIB, host=$MEMORY_MIB
romimage: file=$BIOS
vgaromimage: file=$VGABIOS
ata0-master: type=cdrom, path=$work/disc.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/serial
display_library: nogui
log: $work/log
clock: sync=none
panic: action=fatal
error: action=ignore
info: action=ignore
MACHINE
: > "$work/serial"
"$bochs" -q -f "$work/bochsrc" > "$work/out" 2>&1 &
emulator=$!
tail -n +1 -f --pid=$emulator "$work/serial" | sed -u -n 's/\r$//; /^begin/,$p' &
while kill -0 $emulator 2>/dev/null && ! grep -q '^status' "$work/serial"; do sleep 1; done
kill $emulator 2>/dev/null || true
wait
status=$(tr -d '\r' < "$work/serial" | sed -n 's/^status //p')
[ -n "$status" ] || { tail -n 3 "$work/serial" "$work/log" >&2; exit 1; }
exit "$status"
