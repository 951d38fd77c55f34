"""The render task orchestration surface: tasks, their logs, projects, accounts. docs/compat/tasks.md."""

from fastapi import APIRouter

from orchestrator.compat.tasks import accounts, logs, projects, tasks

router = APIRouter()
for _routes in (accounts, tasks, logs, projects):
    router.include_router(_routes.router)

__all__ = ["router"]
