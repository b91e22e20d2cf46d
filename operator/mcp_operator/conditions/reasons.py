"""Every condition type and every reason that the operator may give, each with its meaning."""

from enum import StrEnum
from typing import Final


class Type(StrEnum):
    """Condition types, in the order in which they are decided."""

    ACCEPTED = "Accepted"
    """The spec is one that the operator acts on."""
    RESOLVED_REFS = "ResolvedRefs"
    """Everything that the spec refers to exists and may be used."""
    PROGRAMMED = "Programmed"
    """The cluster runs what the spec says: workloads are up, every replica runs the current configuration."""
    HEALTHY = "Healthy"
    """It answers as an MCP server, to the operator and to every proxy that serves it."""
    CANARY_PASSING = "CanaryPassing"
    """The declared tool call answers as expected through every proxy that serves it; present only where one is declared."""
    DEFINITIONS_PINNED = "DefinitionsPinned"
    """The tools are defined as approved. Only with spec.pinning; of no consequence for Ready."""
    EXPOSED = "Exposed"
    """It is led to from outside: by an Ingress, an HTTPRoute or both. Only where one is asked for; False makes it not Ready."""
    AUTOSCALED = "Autoscaled"
    """The autoscaler can do its work. Only with spec.autoscaling; of no consequence for Ready."""
    MONITORED = "Monitored"
    """There is a monitor for its metrics. Only with spec.monitoring.enabled; of no consequence for Ready."""
    READY = "Ready"
    """All of the above, where nothing else is said."""
    CONFLICTED = "Conflicted"
    """Another resource claims what this one has, or has what this one claims; present only while True."""
    NAME_TOO_LONG = "NameTooLong"
    """Names are longer than the proxy allows; present only while True."""
    SERVICES_NOT_SHARED = "ServicesNotShared"
    """Processes of a proxy keep, each for itself, what they would have to share; present only while True."""
    RECONCILING = "Reconciling"
    """kstatus: the operator is still at work; present only while True."""
    STALLED = "Stalled"
    """kstatus: only an edit can help; present only while True."""


class Reason(StrEnum):
    """Reasons. Those of a failed probe are the error classes of `mcp_operator_proxy.report.ErrorClass`."""

    ACCEPTED = "Accepted"
    INVALID = "Invalid"
    UNSUPPORTED_VALUE = "UnsupportedValue"
    INVALID_VALUE = "InvalidValue"
    RESOLVED = "Resolved"
    REF_NOT_FOUND = "RefNotFound"
    REF_NOT_PERMITTED = "RefNotPermitted"
    PARENT_NOT_FOUND = "ParentNotFound"
    SERVER_NOT_FOUND = "ServerNotFound"
    SERVER_INVALID = "ServerInvalid"
    SERVER_CONFLICT = "ServerConflict"
    PREFIX_CONFLICT = "PrefixConflict"
    NAME_CONFLICT = "NameConflict"
    """Two servers without prefixes claim one tool, prompt or resource."""
    NAME_TOO_LONG = "NameTooLong"
    """A name is longer than `spec.naming.maxLength` of the proxy: it is shortened, or refused."""
    NO_SERVER_SELECTED = "NoServerSelected"
    NOT_HOSTED = "NotHosted"
    """Remote: there is nothing to deploy."""
    DEPLOYED = "Deployed"
    DEPLOYING = "Deploying"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CRASHING = "Crashing"
    CONTAINER_CONFIG_ERROR = "ContainerConfigError"
    UNSCHEDULABLE = "Unschedulable"
    APPLY_REFUSED = "ApplyRefused"
    """The API server refused a child object; the message is its own."""
    CHILD_NAME_TAKEN = "ChildNameTaken"
    """An object that is not the operator's has the name of a child: it is left as it is."""
    API_MISSING = "ApiMissing"
    """The cluster does not serve a kind that the spec asks for, such as HTTPRoute."""
    EXPOSED = "Exposed"
    NOT_ACCEPTED = "NotAccepted"
    """A Gateway refuses the HTTPRoute; the message is its controller's."""
    AUTOSCALED = "Autoscaled"
    AUTOSCALER_INACTIVE = "AutoscalerInactive"
    """The autoscaler cannot do its work; the message is its own."""
    MONITORED = "Monitored"
    WAITING = "Waiting"
    """For another controller's first word."""
    CONFIG_TOO_LARGE = "ConfigTooLarge"
    """A proxy's configuration does not fit into its ConfigMaps; the one before stays."""
    PROGRAMMED = "Programmed"
    SWAPPING = "Swapping"
    """Some replicas do not yet run the current configuration."""
    CONFIG_REJECTED = "ConfigRejected"
    """A replica refused the configuration whole and keeps the one that it has."""
    REPLICA_UNREACHABLE = "ReplicaUnreachable"
    NO_REPLICAS = "NoReplicas"
    KEPT_APART = "KeptApart"
    """A proxy of several processes has no store that they share."""
    PAUSED = "Paused"
    """The annotation mcp-operator.dev/paused holds the operator off."""
    NOT_PROBED = "NotProbed"
    ANSWERING = "Answering"
    RECOVERING = "Recovering"
    """It was unhealthy and answers again, but not yet as often in a row as it must."""
    PARTLY_REACHABLE = "PartlyReachable"
    """The operator reaches it, and a replica of a proxy does not."""
    STOPPED = "Stopped"
    """It answers, and somebody has stopped it over REST at a proxy."""
    RESTART_LIMIT_REACHED = "RestartLimitReached"
    """It was restarted as often as it may be, and still does not answer."""
    CALL_PASSED = "CallPassed"
    CALL_FAILED = "CallFailed"
    """The tool answered with an error."""
    UNEXPECTED_ANSWER = "UnexpectedAnswer"
    """The tool answered, but not as declared."""
    NOT_CALLED = "NotCalled"
    NOT_SERVED = "NotServed"
    """No proxy shows the tool to clients."""
    NOT_RECORDED = "NotRecorded"
    """The server's definitions have not been seen yet."""
    RECORDED = "Recorded"
    CHANGED = "Changed"
    """Definitions are not as approved, and served all the same."""
    QUARANTINED = "Quarantined"
    """Definitions are not as approved: the tools are neither listed nor callable."""
    READY = "Ready"


TERMINAL: Final = frozenset(
    {
        Reason.INVALID,
        Reason.UNSUPPORTED_VALUE,
        Reason.INVALID_VALUE,
        Reason.APPLY_REFUSED,
        Reason.CHILD_NAME_TAKEN,
        Reason.CONFIG_TOO_LARGE,
        Reason.SERVER_CONFLICT,
        Reason.PREFIX_CONFLICT,
        Reason.CONFIG_REJECTED,
    }
)
"""Reasons that only somebody's edit can end: kstatus calls that Stalled."""

PROGRESSING: Final = frozenset(
    {
        Reason.DEPLOYING,
        Reason.SWAPPING,
        Reason.NOT_PROBED,
        Reason.NOT_CALLED,
        Reason.RECOVERING,
        Reason.REPLICA_UNREACHABLE,
    }
)
"""Reasons that end by themselves: kstatus calls that Reconciling."""
