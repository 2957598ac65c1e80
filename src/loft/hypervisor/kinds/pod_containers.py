"""Containers of a Pod: what each of their fields may be on a host that other tenants share.

Init containers (sidecars too), containers and ephemeral containers have one list of rules. Whatever Pod Security's
baseline forbids is refused; a field nobody lists is refused as well.
"""

from __future__ import annotations

from loft.hypervisor.core import baseline
from loft.hypervisor.core.mapping import Compute, Copy, Guard, Ref, Rule
from loft.hypervisor.kinds.pod_env import env
from loft.hypervisor.kinds.pod_placement import amounts
from loft.hypervisor.kinds.pod_security import baseline_guard

_CLAIMS = "dynamic resource allocation is not synced to the host"
_OTHER_HOST = f"{baseline.RULE}: a probe or hook reaches its own pod only"


def container_rules(here: str) -> tuple[Rule, ...]:
    """Return the rules for the fields of a container; `here` is the path of one, with a dot at its end, or ""."""
    probe = here + "{livenessProbe,readinessProbe,startupProbe}"
    hook = here + "lifecycle.{postStart,preStop}"
    return (
        Copy(here + "{name,image,command,args,workingDir,imagePullPolicy,restartPolicy}"),
        Copy(here + "{stdin,stdinOnce,tty,terminationMessagePath,terminationMessagePolicy}"),
        Copy(here + "restartPolicyRules[*].action"),
        Copy(here + "restartPolicyRules[*].exitCodes.{operator,values}"),
        Copy(here + "ports[*].{name,containerPort,protocol}"),
        baseline_guard(here + "ports[*].hostPort", baseline.unset, baseline.HOST_FIELD),
        # Says nothing without a host port.
        Copy(here + "ports[*].hostIP"),
        Compute(here + "env", env),
        Copy(here + "envFrom[*].prefix"),
        Ref(here + "envFrom[*].{configMapRef,secretRef}.name"),
        Copy(here + "envFrom[*].{configMapRef,secretRef}.optional"),
        Compute(here + "resources.{limits,requests}", amounts),
        Guard(here + "resources.claims", baseline.unset, _CLAIMS),
        Copy(here + "resizePolicy[*].{resourceName,restartPolicy}"),
        Copy(here + "volumeMounts[*].{name,readOnly,recursiveReadOnly,mountPath,subPath,subPathExpr}"),
        baseline_guard(here + "volumeMounts[*].mountPropagation", baseline.is_local_mount, baseline.HOST_FIELD),
        Copy(here + "volumeDevices[*].{name,devicePath}"),
        Copy(probe + ".{initialDelaySeconds,timeoutSeconds,periodSeconds}"),
        Copy(probe + ".{successThreshold,failureThreshold,terminationGracePeriodSeconds}"),
        Copy(probe + ".grpc.{port,service}"),
        *_handler(probe),
        *_handler(hook),
        Copy(hook + ".sleep.seconds"),
        Copy(here + "lifecycle.stopSignal"),
        *_security(here + "securityContext"),
    )


def _handler(path: str) -> tuple[Rule, ...]:
    return (
        Copy(path + ".exec.command"),
        Copy(path + ".httpGet.{path,port,scheme}"),
        Copy(path + ".httpGet.httpHeaders[*].{name,value}"),
        baseline_guard(path + ".httpGet.host", baseline.unset, _OTHER_HOST),
        Copy(path + ".tcpSocket.port"),
        baseline_guard(path + ".tcpSocket.host", baseline.unset, _OTHER_HOST),
    )


def _security(path: str) -> tuple[Rule, ...]:
    return (
        Copy(path + ".{runAsUser,runAsGroup,runAsNonRoot,readOnlyRootFilesystem,allowPrivilegeEscalation}"),
        baseline_guard(path + ".privileged", baseline.unset, baseline.HOST_FIELD),
        baseline_guard(path + ".capabilities.add", baseline.is_capabilities, baseline.RULE),
        Copy(path + ".capabilities.drop"),
        baseline_guard(path + ".procMount", baseline.is_default_proc, baseline.RULE),
        baseline_guard(path + ".seLinuxOptions.type", baseline.is_selinux_type, baseline.RULE),
        baseline_guard(path + ".seLinuxOptions.{user,role}", baseline.unset, baseline.RULE),
        Copy(path + ".seLinuxOptions.level"),
        baseline_guard(path + ".{seccompProfile,appArmorProfile}.type", baseline.is_profile, baseline.RULE),
        Copy(path + ".{seccompProfile,appArmorProfile}.localhostProfile"),
        baseline_guard(path + ".windowsOptions", baseline.unset, baseline.RULE),
    )


CONTAINERS = container_rules("spec.{containers,initContainers}[*].")
