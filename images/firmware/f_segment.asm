; The F segment, 0xF0000-0xFFFFF, as RAM: where old operating systems look for the RSDP. After reset the host bridge shows the ROM there.

.const HOST_BRIDGE_ADDRESS = 0x80000000     ; bus 0, device 0, function 0, register 0
.const MCH_Q35 = 0x29C08086
.const PMC_I440FX = 0x12378086
.const Q35_PAM0 = 0x90                      ; 82Q35 data sheet 5.1.18: bits 5:4 = 11, reads and writes go to RAM
.const I440FX_PAM0 = 0x59                   ; 82441FX data sheet 3.2.18
.const PAM0_RAM = 0x30
.const F_SEGMENT = 0xF0000
.const PROBE = 0x464F4C4B

f_segment_open:
    mov dx, PCI_ADDRESS
    mov eax, HOST_BRIDGE_ADDRESS
    out dx, eax
    mov dx, PCI_DATA
    in eax, dx
    mov ecx, Q35_PAM0
    cmp eax, MCH_Q35
    je .program
    mov ecx, I440FX_PAM0
    cmp eax, PMC_I440FX
    jne .probe                              ; another bridge: perhaps it is RAM anyway
.program:
    mov eax, ecx
    and eax, 0xFC
    or eax, HOST_BRIDGE_ADDRESS
    mov dx, PCI_ADDRESS
    out dx, eax
    mov edx, ecx
    and edx, 3
    add edx, PCI_DATA
    mov al, PAM0_RAM
    out dx, al
.probe:
    mov edi, F_SEGMENT
    mov ecx, [rdi]
    mov dword ptr [rdi], PROBE
    cmp dword ptr [rdi], PROBE
    mov [rdi], ecx
    jne .read_only
    mov [r15 + Fw.fseg_next], rdi
.read_only:
    ret
