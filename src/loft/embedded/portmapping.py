"""Removes what the portmap plugin left: iptables rules of hostPorts whose pods are gone.

The plugin removes its own rules when a pod ends in order. Pods that were killed with their cluster leave
theirs, and since the first matching rule wins, a stale one would swallow the port of the next pod.
"""

from __future__ import annotations

import shlex

CHAINS = ("CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-MASQ", "CNI-HOSTPORT-SETMARK")
"""Chains that the plugin makes once for all networks of a machine."""


def stale(saved: str, network: str) -> list[list[str]]:
    """Return the iptables commands (without `iptables -t nat`) that remove every mapping of one CNI network.

    Args:
        saved: output of `iptables-save -t nat`.
        network: name in the CNI configuration.

    Mappings of other networks stay, and with them the plugin's own chains; when none is left, those go too.
    """
    rules = [shlex.split(line) for line in saved.splitlines() if line.startswith("-A ")]
    jumps = [rule for rule in rules if rule[1] == CHAINS[0]]
    ours = [rule for rule in jumps if f'name: "{network}" ' in _comment(rule)]
    chains = [_target(rule) for rule in ours]
    commands = [["-D", *rule[1:]] for rule in ours]
    for chain in dict.fromkeys(chains):
        commands += [["-F", chain], ["-X", chain]]
    if len(ours) == len(jumps) and any(line.startswith(f":{CHAINS[0]} ") for line in saved.splitlines()):
        # Flushed before any is deleted: the mapping chains jump to the one that sets the mark.
        commands += [["-D", *rule[1:]] for rule in rules if _target(rule) in CHAINS and rule[1] in _BUILT_IN]
        existing = [name for name in CHAINS if f":{name} " in saved]
        commands += [["-F", name] for name in existing] + [["-X", name] for name in existing]
    return commands


_BUILT_IN = ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING")


def _comment(rule: list[str]) -> str:
    return rule[rule.index("--comment") + 1] + " " if "--comment" in rule else ""


def _target(rule: list[str]) -> str:
    return rule[rule.index("-j") + 1] if "-j" in rule else ""
