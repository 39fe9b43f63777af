"""The system side, put together: kernel, synthesizer, shell and the conversation, on one machine.

    system = System(machine.hardware, folder, at_once=clock is "instructions")
    system.start(commands, script)              # neither: a person at the prompt
    machine.run(until=system.has_ended, service=system.service)
    system.status, system.report()              # the worst status; what ran, for --json

Nothing is printed on the host: whatever the system says leaves through the guest's UART. What is heavy (lark, wasmtime, cryptography,
prompt_toolkit) is imported beside the booting guest, in a thread.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kernel.errors import KernelError
from kernel.hardware import Hardware
from kernel.kernel import Kernel
from kernel.telemetry import Source
from shell import Shell
from shell.beside import AtOnce, Beside, Held, Worker
from shell.errors import STATUS_DONE, STATUS_FAILED
from shell.session import Session
from shell.tables import GRAMMAR

if TYPE_CHECKING:
    from jit_synth import Command, Refusal, Request, Synthesizer

NEEDED_SOON = ("lark", "jit_synth", "jit_synth.validate", "jit_synth.wasm.lower", "wasmtime", "cryptography.hazmat.primitives.asymmetric.ed25519")
GRANTS = frozenset({"telemetry"})           # what a synthesized command may import beside the pipe: any live source


class System:
    """Folkering OS on one machine.

    Args:
        hardware: the machine, as `kernel.hardware.Hardware`; nothing has run on it yet.
        folder: where learned commands and the key that signs them are kept; None: they end with the process.
        at_once: searches and synthesized commands hold the guest up instead of running beside it, so that a run is the same bit for bit.

    Attributes:
        kernel: the kernel; its console is the guest's UART.
        session: the conversation; its reports say what ran.
        status: the worst status so far; STATUS_FAILED if the kernel came to nothing.
        failed: None, or the one line that says why the system did not come up.
    """

    def __init__(self, hardware: Hardware, folder: Path | None = None, *, at_once: bool = False) -> None:
        GRAMMAR.folder = folder
        self.kernel = Kernel(hardware)
        self.status = STATUS_DONE
        self.failed: str | None = None
        live = self.kernel.telemetry.sources
        held = Held(live)
        self._beside: Beside = AtOnce() if at_once else Worker(before=held.take, stop=_interrupt)
        self._ahead = _LoadingAhead()
        self._resolver = _LateSynthesizer(self.kernel, live if at_once else held, folder)
        self.shell = Shell(live, self._resolver, _Power(self.kernel), self._beside)
        self.session = Session(self.shell, self.kernel.console, self.kernel.clock.now, self._broken)
        self.kernel.console.on_interrupt = self.session.interrupt
        self._conversation: asyncio.Task[None] | None = None

    def start(self, commands: Sequence[str] = (), script: str | None = None) -> None:
        """Begin the conversation as soon as the kernel is ready: first the commands, then the script, then power off; or talk, if there is neither."""
        self._conversation = self.kernel.spawn(self._converse(tuple(commands), script), "conversation")
        self._conversation.add_done_callback(self._look_at_end)
        terminal = ("kernel.terminal",) if not commands and script is None else ()
        self._ahead.load((*terminal, *NEEDED_SOON))

    def service(self) -> None:
        """What the machine calls between slices. Never blocks; raises only what is a mistake of the system's own."""
        self.kernel.service()

    def has_ended(self) -> bool:
        """Whether there is nothing more to do here: the conversation is over and the machine could not be switched off, or the kernel panicked."""
        if self.kernel.panicked is not None:
            self.failed, self.status = self.kernel.panicked, max(self.status, STATUS_FAILED)
            return True
        return self.failed is not None

    def report(self) -> list[dict[str, object]]:
        """What ran, one entry a line, for `--json`."""
        return [report.as_plain() for report in self.session.reports]

    def close(self) -> None:
        """Cancel what still runs, and wait for the threads: one that is inside a library when Python ends takes the process down. Not used after this."""
        self.kernel.close()
        self._ahead.close()
        self._beside.close()

    async def _converse(self, commands: Sequence[str], script: str | None) -> None:
        try:
            await self.kernel.online()
        except KernelError as error:
            self.failed, self.status = str(error), STATUS_FAILED
            return
        self._resolver.first_boot()
        if not commands and script is None:
            self.status = await self.session.run_interactive()
            return
        self.status = await self.session.run_commands(commands)
        if script is not None and not self.shell.context.closed and not self.session.was_cancelled:
            self.status = max(self.status, await self.session.run_script(script))
        if not self.shell.context.closed:
            self._leave()

    def _leave(self) -> None:
        """After the last command of a run without a person, the machine is switched off."""
        try:
            self.shell.context.actions.power_off()
        except KernelError as error:
            self.kernel.console.write(f"folk: {error}\n")
            self.failed = str(error)

    def _look_at_end(self, conversation: asyncio.Task[None]) -> None:
        """A mistake of our own in the conversation itself must not leave a machine that nobody can talk to."""
        error = None if conversation.cancelled() else conversation.exception()
        if error is not None:
            self._broken("the conversation", error)
            self.failed, self.status = f"a mistake of the system's own: {error!r}", STATUS_FAILED

    def _broken(self, text: str, error: BaseException) -> None:
        self.kernel.log.error("shell", f"{text!r}: {error!r}")
        self.kernel.log.debug("shell", "".join(traceback.format_exception(error)))


def _interrupt() -> None:
    """Stop the WebAssembly that runs beside the system."""
    from jit_synth.runtime import interrupt

    interrupt()


class _LoadingAhead:
    """Imports what the first lines will need while the guest boots: most of that time Unicorn runs and Python is free."""

    def __init__(self) -> None:
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def load(self, modules: Sequence[str]) -> None:
        """Import these, in this order, in a thread."""
        self._thread = threading.Thread(target=self._run, args=(modules,), name="shell: loading ahead", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait for the import that is under way, and let it be the last."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, modules: Sequence[str]) -> None:
        try:
            for name in modules:
                if self._closed.is_set():
                    return
                importlib.import_module(name)
                if name == "lark":
                    GRAMMAR.parser()
        except ImportError:                               # it is reported where it is needed
            return


class _Power:
    """The shell's `Actions` on a kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def power_off(self) -> None:
        """ACPI S5, as soon as what is printed has left. Raises: KernelError."""
        if not self._kernel.system.power.can_switch_off:
            raise KernelError("the firmware does not say how this machine is switched off; leave it with Ctrl-A x")
        self._kernel.power_off()

    def reboot(self) -> None:
        """The FADT's reset, likewise."""
        self._kernel.reboot()


class _LateSynthesizer:
    """A synthesizer that is built when the first unknown command comes: until then nothing of it is loaded."""

    def __init__(self, kernel: Kernel, sources: Mapping[str, Source], folder: Path | None) -> None:
        self._kernel, self._sources, self._folder = kernel, sources, folder
        self._synthesizer: Synthesizer | None = None

    def first_boot(self) -> None:
        """Make the signing key if there is none yet.

        Where it cannot be kept, what is learned ends with the process. A damaged one is a warning until something has to be signed: with another key
        in its place every learned command would look forged.
        """
        from jit_synth import Keys, LineageError, SynthesisError

        try:
            Keys(self._folder).ensure()
        except LineageError as trouble:
            self._kernel.log.warning("synth", str(trouble))
        except SynthesisError as trouble:
            self._kernel.log.warning("synth", f"{trouble}; nothing will be remembered")
            self._folder = None

    def resolve(self, request: Request) -> Command | Refusal:
        """A command that is ready to run, or the reason why there is none."""
        if self._synthesizer is None:
            from jit_synth import Keys, Store, Synthesizer

            self._synthesizer = Synthesizer(self._sources, Store(self._folder), Keys(self._folder), self._kernel.clock.wall, GRANTS)
        resolution = self._synthesizer.resolve(request)
        while self._synthesizer.notes:                    # perhaps in another thread: the log is the kernel's loop's
            self._kernel.call(functools.partial(self._kernel.log.warning, "synth", self._synthesizer.notes.pop(0)))
        return resolution
