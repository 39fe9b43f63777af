"""The native stubs are the bytes that their listings assemble to."""

from __future__ import annotations

import keystone
import pytest

from machine.engine import abi, counting, exit_check, rewriting, sensitive
from machine.engine.stubs import delivery, lone, pages, slices, stores

FAR = 0x1122334455667788          # any number that needs all 64 bits


RECORDED = {"env_eip": abi.X86CPU_ENV + abi.ENV_EIP, "env_error": abi.X86CPU_ENV + abi.ENV_ERROR_CODE, "env_cr2": abi.X86CPU_ENV + abi.ENV_CR + 16,
            "env_cs_base": abi.X86CPU_ENV + abi.ENV_SEGS + abi.R_CS * abi.ENV_SEG_SIZE + abi.SEGMENT_BASE, "env_hflags": abi.X86CPU_ENV + abi.ENV_HFLAGS}


def assemble(listing: str, **values: int) -> bytes:
    names = {"cpu": FAR, "do_interrupt": FAR + 1, "env": FAR + 2, "read_eflags": FAR + 3, "write_eflags": FAR + 4, "update_hflags": FAR + 5,
             "raise_exception": FAR + 6, "attention": FAR + 15, "requests": abi.CPU_INTERRUPT_REQUEST, "halt": abi.CPU_INTERRUPT_HALT, "left": FAR + 16,
             "original": FAR + 8, **values}
    text = "\n".join(line.split("#")[0] for line in listing.splitlines()).format(**names)
    code, _count = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_64).asm(text)
    return bytes(code)


def test_exception_stub() -> None:
    assert delivery.exception(FAR, FAR + 1, FAR + 2) == assemble(delivery.EXCEPTION_LISTING, record=FAR + 2, **RECORDED)


def test_invalid_opcode_stub() -> None:
    assert delivery.invalid_opcode(FAR, FAR + 1, FAR + 2) == assemble(delivery.INVALID_OPCODE_LISTING, record=FAR + 2, **RECORDED)


def test_syscall_stub() -> None:
    segment = abi.ENV_SEGS
    listing = assemble(
        delivery.SYSCALL_LISTING, efer=abi.ENV_EFER, eip=abi.ENV_EIP, rcx=abi.ENV_REGS + 8, r11=abi.ENV_REGS + 88, fmask=abi.ENV_FMASK,
        hflags=abi.ENV_HFLAGS, star_47_32=abi.ENV_STAR + 4, cs=segment + abi.R_CS * abi.ENV_SEG_SIZE, ss=segment + abi.R_SS * abi.ENV_SEG_SIZE,
        lstar=abi.ENV_LSTAR, cstar=abi.ENV_CSTAR, cs64=abi.HF_CS64_MASK)
    assert delivery.syscall(FAR + 2, FAR + 3, FAR + 4, FAR + 5, FAR + 6) == listing


def test_region_stub() -> None:
    high_base, high_end, high_region, low_end, low_region = FAR + 10, FAR + 11, FAR + 12, 0xA0000, FAR + 13
    listing = assemble(stores.REGION_LISTING, high_base=high_base, high_end=high_end, high_region=high_region, low_end=low_end, low_region=low_region)
    assert stores.region(high_base, high_end, high_region, low_end, low_region, FAR + 8) == listing


def test_store_stub() -> None:
    listing = assemble(stores.STORE_LISTING, asked=FAR + 1, quick=FAR + 2, sticky=FAR + 3, l1_map=abi.UC_L1_MAP, l1_size=abi.UC_L1_SIZE,
                       l1_shift=abi.UC_L1_SHIFT, l2_levels=abi.UC_L2_LEVELS, tlb_write=abi.TLB_ENTRY_WRITE, notdirty=abi.TLB_NOTDIRTY)
    assert stores.store(FAR + 1, FAR + 2, FAR + 3) == listing


def test_protect_stub() -> None:
    listing = assemble(stores.PROTECT_LISTING, uc_cpu=abi.UC_CPU, tlb_flush=FAR + 1, original=FAR + 2)
    assert stores.protect(FAR + 1, FAR + 2) == listing


def test_stop_stub() -> None:
    assert slices.stop(FAR, FAR + 15) == assemble(slices.STOP_LISTING)


def test_exec_interrupt_stub() -> None:
    listing = assemble(slices.EXEC_INTERRUPT_LISTING, exec_interrupt=FAR + 18, exception_index=abi.CPU_EXCEPTION_INDEX, exit_request=abi.CPU_EXIT_REQUEST,
                       stop_request=FAR + 19)
    assert slices.exec_interrupt(FAR + 18, FAR + 19) == listing
    listing = assemble(slices.EXEC_AND_TELL_LISTING, exec_interrupt=FAR + 18, exception_index=abi.CPU_EXCEPTION_INDEX, exit_request=abi.CPU_EXIT_REQUEST,
                       stop_request=FAR + 19, left=FAR + 20, aside=FAR + 21)
    assert slices.exec_and_tell(FAR + 18, FAR + 19, FAR + 20, FAR + 21) == listing


def test_port_stub() -> None:
    listing = assemble(delivery.PORT_LISTING, hflags=abi.ENV_HFLAGS, eflags=abi.ENV_EFLAGS, check_byte=FAR + 20, check_word=FAR + 21,
                       check_long=FAR + 22, callback=FAR + 23)
    assert delivery.port(FAR + 2, (FAR + 20, FAR + 21, FAR + 22), FAR + 23) == listing


def test_breakpoint_stub() -> None:
    listing = assemble(slices.BREAK_LISTING, place=FAR + 1, exception_index=abi.CPU_EXCEPTION_INDEX, excp_hlt=abi.EXCP_HLT, loop_exit=FAR + 18)
    assert slices.break_at(FAR + 1, FAR + 16, FAR, FAR + 18) == listing


def test_pause_stub() -> None:
    listing = assemble(slices.PAUSE_LISTING, invalid_error=FAR + 3, last_error=FAR + 4, write_prot=abi.UC_ERR_WRITE_PROT, patience=FAR + 1, exec_exit=FAR + 2)
    assert slices.pause(FAR + 3, FAR + 4, FAR + 1, FAR + 15, FAR + 2) == listing


def test_lone_write_stubs() -> None:
    cs_base = abi.ENV_SEGS + abi.R_CS * abi.ENV_SEG_SIZE + 8
    listing = assemble(lone.LONE_LISTING, pending=FAR + 1, eip=abi.ENV_EIP, cs_base=cs_base, place=FAR + 3, cflags_next_tb=abi.CPU_CFLAGS_NEXT_TB,
                       exception_index=abi.CPU_EXCEPTION_INDEX, loop_exit=FAR + 18)
    assert lone.lone(FAR + 1, FAR + 2, FAR + 3, FAR + 16, FAR, FAR + 18) == listing
    assert lone.lone_port(FAR + 1, FAR + 3) == assemble(lone.LONE_PORT_LISTING, lone=FAR + 1, callback=FAR + 3)
    listing = assemble(lone.AGAIN_LISTING, eip=abi.ENV_EIP, cs_base=cs_base, place=FAR + 3, cflags_next_tb=abi.CPU_CFLAGS_NEXT_TB,
                       exception_index=abi.CPU_EXCEPTION_INDEX, loop_exit=FAR + 18)
    assert lone.again(FAR + 2, FAR + 3, FAR + 16, FAR, FAR + 18) == listing
    listing = assemble(lone.LONE_STORE_LISTING, window=FAR + 1, base=FAR + 3, mem_io_pc=abi.CPU_MEM_IO_PC, context=FAR + 5, tb_lookup=FAR + 6,
                       tb_icount=abi.TB_ICOUNT, restore_state=FAR + 7, again=FAR + 9, callback=FAR + 10)
    assert lone.lone_store(FAR + 1, FAR + 3, FAR, FAR + 5, FAR + 6, FAR + 7, FAR + 9, FAR + 10) == listing


def test_exit_check_stub() -> None:
    addresses = {name: FAR + 30 + number for number, name in enumerate((*exit_check.FUNCTIONS, "tcg_gen_callN", "helper_check_exit_request"))}
    listing = assemble(exit_check.CALL_LISTING, op_ld_i32=abi.INDEX_OP_LD_I32, op_set_label=abi.INDEX_OP_SET_LABEL, cond_ge=abi.TCG_COND_GE,
                       tcg_cpu_env=abi.TCG_CPU_ENV, tcg_uc=abi.TCG_UC, icount_decr=abi.ENV_ICOUNT_DECR, **addresses)
    assert exit_check.call(addresses) == listing


def test_the_exit_check_is_in_line_with_the_supported_wheel() -> None:
    assert exit_check.install(abi.load())


def test_counting_stub() -> None:
    addresses = {name: FAR + 30 + number for number, name in enumerate((*counting.FUNCTIONS, "table", "exit_check"))}
    listing = assemble(counting.OP2_LISTING, op_insn_start=abi.INDEX_OP_INSN_START, op_ld_i64=abi.INDEX_OP_LD_I64, op_st_i64=abi.INDEX_OP_ST_I64,
                       op_ld_i32=abi.INDEX_OP_LD_I32, op_st_i32=abi.INDEX_OP_ST_I32, op_st16_i32=abi.INDEX_OP_ST16_I32,
                       op_set_label=abi.INDEX_OP_SET_LABEL, cond_ge=abi.TCG_COND_GE, tcg_uc=abi.TCG_UC, tcg_cpu_env=abi.TCG_CPU_ENV,
                       interrupt_request=abi.CPU_INTERRUPT_REQUEST - abi.X86CPU_ENV, icount_decr_high=abi.ENV_ICOUNT_DECR + 2, **addresses)
    assert counting.op2(addresses) == listing
    assert counting.table(abi.load()) is not None


def test_sensitive_registers_stub() -> None:
    addresses = {name: FAR + 60 + number for number, name in enumerate((
        "original", "low", "high", *abi.SENSITIVE_HELPERS, "callback", "raise_exception_err_ra"))}
    listing = assemble(sensitive.LISTING, rcx=abi.ENV_REGS + 8, exit_msr=sensitive.EXIT_MSR, exit_write_cr8=sensitive.EXIT_WRITE_CR8,
                       exit_read_cr8=sensitive.EXIT_READ_CR8, bitmap_size=sensitive.BITMAP_SIZE, minus_high_base=(1 << 32) - sensitive.HIGH_BASE,
                       general_protection=sensitive.GENERAL_PROTECTION, not_mine=sensitive.NOT_MINE, **addresses)
    assert sensitive.stub(addresses) == listing
    assert sensitive.install(abi.load())


def test_count_stub() -> None:
    listing = assemble(slices.COUNT_LISTING, exception_index=abi.CPU_EXCEPTION_INDEX, excp_hlt=abi.EXCP_HLT, loop_exit=FAR + 18)
    assert slices.count(FAR + 16, FAR, FAR + 18) == listing


def test_slice_timer_stub() -> None:
    assert assemble(slices.TIMER_LISTING) == slices.TIMER


def test_counted_tsc_stub() -> None:
    listing = assemble(slices.COUNTED_TSC_LISTING, state=FAR + 1, picoseconds=0x12345678, tsc_offset=abi.ENV_TSC_OFFSET, rax=abi.ENV_REGS,
                       rdx=abi.ENV_REGS + 16)
    assert slices.counted_tsc(FAR + 1, FAR + 16, FAR + 2, 0x12345678) == listing


    listing = assemble(slices.COUNTED_TSCP_LISTING, state=FAR + 1, picoseconds=0x12345678, tsc_offset=abi.ENV_TSC_OFFSET, rax=abi.ENV_REGS,
                       rcx=abi.ENV_REGS + 8, rdx=abi.ENV_REGS + 16, tsc_aux=abi.ENV_TSC_AUX)
    assert slices.counted_tscp(FAR + 1, FAR + 16, FAR + 2, 0x12345678) == listing


def test_rewriting_stub() -> None:
    listing = assemble(rewriting.LISTING, site=FAR + 1, table=FAR + 2, env_eip=abi.X86CPU_ENV + abi.ENV_EIP,
                       env_cs_base=abi.X86CPU_ENV + abi.ENV_SEGS + abi.R_CS * abi.ENV_SEG_SIZE + abi.SEGMENT_BASE)
    assert rewriting.stub(FAR + 1, FAR + 2, FAR + 8) == listing
    assert rewriting.table(abi.load()) is not None


def test_read_tsc_stub() -> None:
    assert assemble(slices.READ_TSC_LISTING) == slices.READ_TSC


def test_a_code_page_refuses_more_than_fits() -> None:
    page = pages.CodePage()
    page.add(bytes(4000))
    with pytest.raises(AssertionError, match="outgrew"):
        page.add(bytes(200))
