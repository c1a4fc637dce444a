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

const asked = {}; // place on the page -> number of requests for it

// Returns a function that says whether nothing else has been asked for that place since: an older answer is dropped.
export function latest(place) {
  const mine = asked[place] = (asked[place] ?? 0) + 1;
  return () => mine === asked[place];
}
