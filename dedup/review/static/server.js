// Requests to the server that sent this page, and to no other.
import { words } from "./words.js";

const filters = document.querySelector("#filters");

export const query = () => new URLSearchParams(new FormData(filters)).toString();

const answered = ({ status }) => words.answered.replace("{status}", status);

export async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(await answer.json().then((a) => a.error, () => answered(answer)));
  return answer;
}

export async function post(path, fields) {
  const answer = await fetch(path, { method: "POST", body: JSON.stringify(fields) });
  const result = await answer.json().catch(() => ({ error: answered(answer) }));
  if (!answer.ok) throw new Error(result.error);
  return result;
}
