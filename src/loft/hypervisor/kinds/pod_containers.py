"""Containers of a Pod: what each of their fields may be on a host that other tenants share.

Init containers (sidecars too) and containers have one list of rules. Whatever Pod Security's baseline forbids is
refused; a field nobody lists is refused as well.
"""

from __future__ import annotations

from loft.hypervisor.core import baseline
from loft.hypervisor.core.mapping import Compute, Copy, Guard, Ignore, Ref, Rule
from loft.hypervisor.kinds.pod_env import env

_C = "spec.{containers,initContainers}[*]"
_PROBE = _C + ".{livenessProbe,readinessProbe,startupProbe}"
_HOOK = _C + ".lifecycle.{postStart,preStop}"
_SECURITY = _C + ".securityContext"

_CLAIMS = "dynamic resource allocation is not synced to the host"
_OTHER_HOST = f"{baseline.RULE}: a probe or hook reaches its own pod only"


def _handler(path: str) -> tuple[Rule, ...]:
    return (
        Copy(path + ".exec.command"),
        Copy(path + ".httpGet.{path,port,scheme}"),
        Copy(path + ".httpGet.httpHeaders[*].{name,value}"),
        Guard(path + ".httpGet.host", baseline.unset, _OTHER_HOST),
        Copy(path + ".tcpSocket.port"),
        Guard(path + ".tcpSocket.host", baseline.unset, _OTHER_HOST),
    )


SECURITY = (
    Copy(_SECURITY + ".{runAsUser,runAsGroup,runAsNonRoot,readOnlyRootFilesystem,allowPrivilegeEscalation}"),
    Guard(_SECURITY + ".privileged", baseline.unset, baseline.HOST_FIELD),
    Guard(_SECURITY + ".capabilities.add", baseline.is_capabilities, baseline.RULE),
    Copy(_SECURITY + ".capabilities.drop"),
    Guard(_SECURITY + ".procMount", baseline.is_default_proc, baseline.RULE),
    Guard(_SECURITY + ".seLinuxOptions.type", baseline.is_selinux_type, baseline.RULE),
    Guard(_SECURITY + ".seLinuxOptions.{user,role}", baseline.unset, baseline.RULE),
    Copy(_SECURITY + ".seLinuxOptions.level"),
    Guard(_SECURITY + ".{seccompProfile,appArmorProfile}.type", baseline.is_profile, baseline.RULE),
    Copy(_SECURITY + ".{seccompProfile,appArmorProfile}.localhostProfile"),
    Guard(_SECURITY + ".windowsOptions", baseline.unset, baseline.RULE),
)

CONTAINERS = (
    Copy(_C + ".{name,image,command,args,workingDir,imagePullPolicy,restartPolicy}"),
    Copy(_C + ".{stdin,stdinOnce,tty,terminationMessagePath,terminationMessagePolicy}"),
    Copy(_C + ".restartPolicyRules[*].action"),
    Copy(_C + ".restartPolicyRules[*].exitCodes.{operator,values}"),
    Copy(_C + ".ports[*].{name,containerPort,protocol}"),
    Guard(_C + ".ports[*].hostPort", baseline.unset, baseline.HOST_FIELD),
    Ignore(_C + ".ports[*].hostIP"),
    Compute(_C + ".env", env),
    Copy(_C + ".envFrom[*].prefix"),
    Ref(_C + ".envFrom[*].{configMapRef,secretRef}.name"),
    Copy(_C + ".envFrom[*].{configMapRef,secretRef}.optional"),
    Copy(_C + ".resources.{limits,requests}"),
    Guard(_C + ".resources.claims", baseline.unset, _CLAIMS),
    Copy(_C + ".resizePolicy[*].{resourceName,restartPolicy}"),
    Copy(_C + ".volumeMounts[*].{name,readOnly,recursiveReadOnly,mountPath,subPath,subPathExpr}"),
    Guard(_C + ".volumeMounts[*].mountPropagation", baseline.is_local_mount, baseline.HOST_FIELD),
    Copy(_C + ".volumeDevices[*].{name,devicePath}"),
    Copy(_PROBE + ".{initialDelaySeconds,timeoutSeconds,periodSeconds}"),
    Copy(_PROBE + ".{successThreshold,failureThreshold,terminationGracePeriodSeconds}"),
    Copy(_PROBE + ".grpc.{port,service}"),
    *_handler(_PROBE),
    *_handler(_HOOK),
    Copy(_HOOK + ".sleep.seconds"),
    Copy(_C + ".lifecycle.stopSignal"),
    *SECURITY,
)
