"""CommentService over gRPC: decode, one call, encode."""

from modelstead.registry.v1 import comments_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.registry.comments.service import Comments


class CommentServicer:
    """Serves the methods of modelstead.registry.v1.CommentService."""

    def __init__(self, comments: Comments) -> None:
        self._comments = comments

    async def CreateComment(self, request: pb.CreateCommentRequest, call: Call) -> pb.CreateCommentResponse:
        comment = await self._comments.create(
            request.name,
            request.version,
            comment=request.comment,
            caller=call.caller,
            request_id=request.request_id,
        )
        return pb.CreateCommentResponse(comment=encode(pb.Comment, comment))

    async def UpdateComment(self, request: pb.UpdateCommentRequest, call: Call) -> pb.UpdateCommentResponse:
        comment = await self._comments.update(request.id, comment=request.comment, caller=call.caller)
        return pb.UpdateCommentResponse(comment=encode(pb.Comment, comment))

    async def DeleteComment(self, request: pb.DeleteCommentRequest, call: Call) -> pb.DeleteCommentResponse:
        await self._comments.delete(request.id, caller=call.caller)
        return pb.DeleteCommentResponse()

    async def ListComments(self, request: pb.ListCommentsRequest, call: Call) -> pb.ListCommentsResponse:
        found, next_page_token = await self._comments.list(
            request.name,
            request.version,
            max_results=request.max_results,
            page_token=request.page_token,
            caller=call.caller,
        )
        comments = [encode(pb.Comment, comment) for comment in found]
        return pb.ListCommentsResponse(comments=comments, next_page_token=next_page_token)
