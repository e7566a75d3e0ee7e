"""PromotionPolicyService over gRPC: decode, one call, encode."""

from modelstead.registry.v1 import policies_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.registry.policies.service import PromotionPolicies


class PromotionPolicyServicer:
    """Serves the methods of modelstead.registry.v1.PromotionPolicyService."""

    def __init__(self, policies: PromotionPolicies) -> None:
        self._policies = policies

    async def SetPromotionPolicy(
        self, request: pb.SetPromotionPolicyRequest, call: Call
    ) -> pb.SetPromotionPolicyResponse:
        policy = await self._policies.set(
            request.name,
            policy_yaml=request.policy_yaml,
            if_revision=request.if_revision if request.HasField("if_revision") else None,
            caller=call.caller,
        )
        return pb.SetPromotionPolicyResponse(policy=encode(pb.PromotionPolicy, policy))

    async def ValidatePromotionPolicy(
        self, request: pb.ValidatePromotionPolicyRequest, call: Call
    ) -> pb.ValidatePromotionPolicyResponse:
        await self._policies.validate(request.name, policy_yaml=request.policy_yaml)
        return pb.ValidatePromotionPolicyResponse()

    async def GetPromotionPolicy(
        self, request: pb.GetPromotionPolicyRequest, call: Call
    ) -> pb.GetPromotionPolicyResponse:
        policy = await self._policies.get(request.name)
        return pb.GetPromotionPolicyResponse(policy=encode(pb.PromotionPolicy, policy))

    async def DeletePromotionPolicy(
        self, request: pb.DeletePromotionPolicyRequest, call: Call
    ) -> pb.DeletePromotionPolicyResponse:
        await self._policies.delete(request.name, caller=call.caller)
        return pb.DeletePromotionPolicyResponse()

    async def ListPromotionPolicyRevisions(
        self, request: pb.ListPromotionPolicyRevisionsRequest, call: Call
    ) -> pb.ListPromotionPolicyRevisionsResponse:
        found, next_page_token = await self._policies.revisions(
            request.name, max_results=request.max_results, page_token=request.page_token
        )
        policies = [encode(pb.PromotionPolicy, policy) for policy in found]
        return pb.ListPromotionPolicyRevisionsResponse(policies=policies, next_page_token=next_page_token)

    async def DescribePromotionPolicy(
        self, request: pb.DescribePromotionPolicyRequest, call: Call
    ) -> pb.DescribePromotionPolicyResponse:
        return encode(
            pb.DescribePromotionPolicyResponse, await self._policies.describe(request.name, caller=call.caller)
        )

    async def EvaluatePromotionPolicy(
        self, request: pb.EvaluatePromotionPolicyRequest, call: Call
    ) -> pb.EvaluatePromotionPolicyResponse:
        evaluation = await self._policies.evaluate(
            request.name, request.version, stage=request.stage, caller=call.caller
        )
        return encode(pb.EvaluatePromotionPolicyResponse, evaluation)
