#!/usr/bin/env bash
# Makes what microVMs boot from, out of Debian's packages: a kernel, and an initramfs with its modules and our
# init. Tries KVM when it is there and notes whether a machine boots with it.
#
#   tools/microvm.sh FOLDER [GUEST_INIT]     FOLDER gets vmlinuz, vmlinux, initramfs, accelerator
#
# GUEST_INIT is the program brokkr_guest_init; by default the one beside brokkr. Needs apt-get, dpkg and cpio.
set -euo pipefail
say() { printf 'microvm: %s\n' "$*"; }
fail() { printf 'microvm: %s\n' "$*" >&2; exit 1; }

[[ $# -ge 1 ]] || fail "usage: tools/microvm.sh FOLDER [GUEST_INIT]"
folder=$1
guest=${2:-}
for candidate in "$(dirname "$(command -v brokkr || echo /nowhere/brokkr)")/brokkr_guest_init" /usr/local/lib/brokkr/brokkr_guest_init; do
  [[ -n $guest ]] || { [[ -x $candidate ]] && guest=$candidate; }
done
[[ -x $guest ]] || fail "no brokkr_guest_init: name it as the second argument"
for tool in apt-get apt-cache dpkg cpio; do
  command -v "$tool" >/dev/null || fail "$tool is missing"
done
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

package=${BROKKR_KERNEL_PACKAGE:-}
if [[ -z $package ]]; then
  package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
fi
[[ -n $package ]] || fail "apt knows no linux-image-cloud-amd64 (apt-get update?)"
say "fetching $package"
(cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$package") || fail "could not fetch $package"
dpkg -x "$work"/*.deb "$work/root"
release=$(ls "$work/root/lib/modules")
modules=$work/root/lib/modules/$release/kernel

# Our init tries them until no more can be loaded, so that their order says nothing of what needs what.
mkdir -p "$work/ram/modules" "$work/ram/dev" "$work/ram/proc" "$work/ram/sys"
letter=a
for module in drivers/virtio/virtio_ring drivers/virtio/virtio drivers/virtio/virtio_mmio drivers/char/virtio_console \
              drivers/block/virtio_blk arch/x86/crypto/crc32c-intel lib/libcrc32c fs/erofs/erofs fs/overlayfs/overlay \
              net/vmw_vsock/vsock net/vmw_vsock/vmw_vsock_virtio_transport_common net/vmw_vsock/vmw_vsock_virtio_transport; do
  [[ -e $modules/$module.ko ]] || continue
  cp "$modules/$module.ko" "$work/ram/modules/$letter.ko"
  letter=$(tr 'a-y' 'b-z' <<<"$letter")
done
install -m 0755 "$guest" "$work/ram/init"
(cd "$work/ram" && find . -mindepth 1 | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0) >"$work/initramfs"
install -m 0644 "$work/initramfs" "$folder/initramfs"
install -m 0644 "$work/root/boot/vmlinuz-$release" "$folder/vmlinuz"
say "kernel $release and initramfs in $folder"

# Firecracker wants the kernel unpacked: an ELF file within the other, behind the signature of its packing.
unpack_kernel() {
  local signature=$1 program=$2 offset
  command -v "${program%% *}" >/dev/null || return 1
  for offset in $(LC_ALL=C grep -abo -P "$signature" "$folder/vmlinuz" | cut -d: -f1 | head -n 8); do
    # shellcheck disable=SC2086
    tail -c +$((offset + 1)) "$folder/vmlinuz" | $program >"$work/vmlinux" 2>/dev/null || true
    if [[ $(head -c 4 "$work/vmlinux" | od -An -tx1 | tr -d ' \n') == 7f454c46 ]]; then
      install -m 0644 "$work/vmlinux" "$folder/vmlinux"
      return 0
    fi
  done
  return 1
}
unpack_kernel '\x02\x21\x4C\x18' 'lz4 -dc' || unpack_kernel '\xFD7zXZ\x00' 'xz -dc' || unpack_kernel '\x28\xB5\x2F\xFD' 'zstd -dc' || unpack_kernel '\x1F\x8B\x08' 'gzip -dc' ||
  say "the kernel cannot be unpacked here (package lz4?): no Firecracker"

# A /dev/kvm that opens need not work: a machine has to come as far as our init, which ends without a port.
accelerator=tcg
if [[ -w /dev/kvm ]] && command -v qemu-system-x86_64 >/dev/null; then
  if timeout 10 qemu-system-x86_64 -M microvm,x-option-roms=off,rtc=on -accel kvm -cpu host -m 192 -nodefaults -no-user-config \
      -no-reboot -display none -serial stdio -kernel "$folder/vmlinuz" -initrd "$folder/initramfs" \
      -append "console=ttyS0 reboot=t panic=-1 brokkr.port=none" </dev/null 2>/dev/null | grep -q 'no port to the host'; then
    accelerator=kvm
  fi
fi
echo "$accelerator" >"$folder/accelerator"
say "accelerator: $accelerator"
